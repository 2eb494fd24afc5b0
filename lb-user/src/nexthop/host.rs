//! What this host is, as far as packets see it: its interfaces, addresses, and whether it fragments.

use std::{fs, net::IpAddr, path::Path};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressMessage},
};

use super::{
    NextHopError,
    kernel::{Link, Links},
};
use crate::{
    config::Interface,
    decide::{Attached, Host},
};

/// Kernel parameters of IPv4 (Documentation/networking/ip-sysctl.rst).
const PARAMETERS: &str = "/proc/sys/net/ipv4";
/// Links on top of each other that are looked through, at most.
const DEEPEST: usize = 8;

/// What it is now.
pub(super) async fn host(
    handle: &Handle,
    interfaces: &[Interface],
    links: &Links,
) -> Result<Host, NextHopError> {
    let attached = |interface: &Interface| {
        let (&ifindex, link) = links.iter().find(|(_, link)| link.name == interface.name)?;
        Some(Attached { ifindex, mac: mac(links, ifindex, link).unwrap_or_default() })
    };
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let interfaces: Vec<Attached> = interfaces.iter().filter_map(attached).collect();
    let indices: Vec<u32> = interfaces.iter().map(|attached| attached.ifindex).collect();
    let devices: Vec<&str> = names.into_iter().chain(vlans(links, &indices)).collect();
    Ok(Host {
        addresses: addresses(handle).await?,
        fragments: fragments(Path::new(PARAMETERS), &devices),
        interfaces,
    })
}

/// The names of the VLANs on these interfaces, and of those within VLANs: what comes in with tags
/// comes in by them.
fn vlans<'l>(links: &'l Links, interfaces: &[u32]) -> impl Iterator<Item = &'l str> {
    let carries = |link: &Link| {
        let parent = |link: &Link| link.vlan.map(|vlan| vlan.parent);
        // Two tags at most (`NodeRecord::tags`).
        let outer = parent(link).and_then(|index| links.get(&index)).and_then(parent);
        [parent(link), outer].into_iter().flatten().any(|index| interfaces.contains(&index))
    };
    links.values().filter(move |link| carries(link)).map(|link| link.name.as_str())
}

/// The MAC address that all frames to this host have which come in by a link: its own, unless devices
/// on top of it have others (VLANs, macvlans, a bridge).
fn mac(links: &Links, index: u32, link: &Link) -> Option<[u8; 6]> {
    let on_top = links.values().filter(|other| is_on(links, other, index));
    let mut all = on_top.chain([link]);
    all.all(|one| one.mac.is_none_or(|mac| Some(mac) == link.mac) && one.controller.is_none())
        .then_some(link.mac?)
}

/// Whether what comes in by the link with this index may come to another link.
fn is_on(links: &Links, link: &Link, index: u32) -> bool {
    let below = std::iter::successors(link.below, |below| links.get(below)?.below);
    below.take(DEEPEST).any(|below| below == index)
}

/// All addresses, sorted.
async fn addresses(handle: &Handle) -> Result<Vec<IpAddr>, NextHopError> {
    let read = |source| NextHopError::Read { what: "addresses", source };
    let mut found = Vec::new();
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Some(message) = addresses.try_next().await.map_err(read)? {
        found.extend(own(&message));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// This host's end; where there is none `Address` is not the peer's.
fn own(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// Whether packets that come in on any of these interfaces are forwarded although they are from an
/// address of this host.
fn fragments(parameters: &Path, interfaces: &[&str]) -> bool {
    // What cannot be read is 0: the interface is gone.
    let value = |path: &str| -> u32 {
        let text = fs::read_to_string(parameters.join(path));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    };
    // What is set for all and for an interface: the larger one counts.
    let larger = |interface: &str, name: &str| {
        let of = |interface: &str| value(&format!("conf/{interface}/{name}"));
        of("all").max(of(interface))
    };
    let takes = |interface: &&str| {
        value(&format!("conf/{interface}/forwarding")) != 0
            && larger(interface, "accept_local") != 0
            // Strict: a route may not lead back to an address of this host by the interface.
            && larger(interface, "rp_filter") != 1
    };
    value("ip_forward") != 0 && !interfaces.is_empty() && interfaces.iter().all(takes)
}

#[cfg(test)]
mod tests {
    use super::{super::kernel::Vlan, *};

    #[test]
    fn a_mac_is_known_if_nothing_on_top_of_the_link_has_another() {
        let link = |mac: u8, below, controller| Link {
            name: String::new(),
            mac: Some([mac; 6]),
            mtu: 1500,
            up: true,
            vlan: None,
            below,
            controller,
        };
        let table = [
            (vec![], Some([2; 6])),
            // A VLAN, and one in it.
            (vec![(2, Some(1), None), (2, Some(10), None)], Some([2; 6])),
            (vec![(3, Some(1), None)], None),
            (vec![(2, Some(1), None), (3, Some(10), None)], None),
            (vec![(2, Some(1), Some(9))], None),
            // On another link, or a pair of each other's.
            (vec![(3, Some(7), Some(9)), (4, None, None)], Some([2; 6])),
            (vec![(3, Some(11), None), (4, Some(10), None)], Some([2; 6])),
        ];
        for (others, expected) in table {
            let others = others.into_iter().map(|(mac, below, by)| link(mac, below, by));
            let mut links: Links = (10..).zip(others).collect();
            links.insert(1, link(2, None, None));
            assert_eq!(mac(&links, 1, &links[&1]), expected, "{links:?}");
        }
        assert_eq!(mac(&Links::new(), 1, &link(2, None, Some(9))), None, "in a bridge");
        assert_eq!(mac(&Links::new(), 1, &Link { mac: None, ..link(2, None, None) }), None);
    }

    #[test]
    fn a_host_fragments_if_every_interface_forwards_what_is_from_itself() {
        let table: [(&[(&str, &str)], bool); 12] = [
            (&[], true),
            (&[("ip_forward", "0")], false),
            (&[("conf/one/forwarding", "0")], false),
            (&[("conf/two/forwarding", "0")], false),
            (&[("conf/two/accept_local", "0")], false),
            (&[("conf/two/accept_local", "0"), ("conf/all/accept_local", "1")], true),
            (&[("conf/two/accept_local", ""), ("conf/two/forwarding", "")], false),
            (&[("conf/two/rp_filter", "1")], false),
            (&[("conf/all/rp_filter", "1")], false),
            (&[("conf/two/rp_filter", "2")], true),
            (&[("conf/all/rp_filter", "1"), ("conf/two/rp_filter", "2")], false),
            (&[("conf/all/rp_filter", "2"), ("conf/two/rp_filter", "1")], true),
        ];
        for (changes, expected) in table {
            let directory = tempfile::tempdir().expect("a directory");
            let set = |path: &str, value: &str| {
                let path = directory.path().join(path);
                fs::create_dir_all(path.parent().expect("it has one")).expect("made");
                fs::write(path, format!("{value}\n")).expect("written");
            };
            set("ip_forward", "1");
            set("conf/all/accept_local", "0");
            set("conf/all/rp_filter", "0");
            for interface in ["one", "two"] {
                set(&format!("conf/{interface}/forwarding"), "1");
                set(&format!("conf/{interface}/accept_local"), "1");
                set(&format!("conf/{interface}/rp_filter"), "0");
            }
            changes.iter().for_each(|(path, value)| set(path, value));
            assert_eq!(fragments(directory.path(), &["one", "two"]), expected, "{changes:?}");
            assert!(!fragments(directory.path(), &["one", "three"]), "one is gone");
            assert!(!fragments(directory.path(), &[]), "there is none");
        }
    }

    #[test]
    fn what_comes_in_with_tags_comes_in_by_vlans() {
        let link = |name: &str, parent: Option<u32>| Link {
            name: name.to_owned(),
            mac: None,
            mtu: 1500,
            up: true,
            vlan: parent.map(|parent| Vlan { parent, tag: 0x8007 }),
            below: parent,
            controller: None,
        };
        let links = [
            (1, link("eth0", None)),
            (2, link("eth0.7", Some(1))),
            (3, link("eth0.7.7", Some(2))),
            (4, link("eth1", None)),
            (5, link("eth1.7", Some(4))),
            (6, link("gone.7", Some(99))),
        ];
        let links = links.into_iter().collect();
        for (interfaces, expected) in [
            (&[1][..], vec!["eth0.7", "eth0.7.7"]),
            (&[4], vec!["eth1.7"]),
            (&[1, 4], vec!["eth0.7", "eth0.7.7", "eth1.7"]),
            (&[], vec![]),
        ] {
            let mut found: Vec<&str> = vlans(&links, interfaces).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{interfaces:?}");
        }
    }
}
