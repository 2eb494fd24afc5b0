//! What this host is, as far as packets see it: its interfaces, addresses, and whether it fragments.

use std::{fs, net::IpAddr, path::Path};

use futures_util::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressMessage},
};

use super::{NextHopError, kernel::Links};
use crate::{config::Interface, decide::Host};

/// Kernel parameters of IPv4 (Documentation/networking/ip-sysctl.rst).
const PARAMETERS: &str = "/proc/sys/net/ipv4";

/// What it is now.
pub(super) async fn host(
    handle: &Handle,
    interfaces: &[Interface],
    links: &Links,
) -> Result<Host, NextHopError> {
    let index = |interface: &Interface| {
        links.iter().find(|(_, link)| link.name == interface.name).map(|(&index, _)| index)
    };
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    Ok(Host {
        interfaces: interfaces.iter().filter_map(index).collect(),
        addresses: addresses(handle).await?,
        fragments: fragments(Path::new(PARAMETERS), &names),
    })
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
    // What cannot be read is not set: the interface is gone.
    let set = |path: &str| {
        fs::read_to_string(parameters.join(path)).is_ok_and(|text| !matches!(text.trim(), "" | "0"))
    };
    let all = set("ip_forward");
    let accepted = set("conf/all/accept_local");
    let takes = |interface: &&str| {
        let own = |name: &str| set(&format!("conf/{interface}/{name}"));
        own("forwarding") && (accepted || own("accept_local"))
    };
    all && !interfaces.is_empty() && interfaces.iter().all(takes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_fragments_if_every_interface_forwards_what_is_from_itself() {
        let table: [(&[(&str, &str)], bool); 7] = [
            (&[], true),
            (&[("ip_forward", "0")], false),
            (&[("conf/one/forwarding", "0")], false),
            (&[("conf/two/forwarding", "0")], false),
            (&[("conf/two/accept_local", "0")], false),
            (&[("conf/two/accept_local", "0"), ("conf/all/accept_local", "1")], true),
            (&[("conf/two/accept_local", ""), ("conf/two/forwarding", "")], false),
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
            for interface in ["one", "two"] {
                set(&format!("conf/{interface}/forwarding"), "1");
                set(&format!("conf/{interface}/accept_local"), "1");
            }
            changes.iter().for_each(|(path, value)| set(path, value));
            assert_eq!(fragments(directory.path(), &["one", "two"]), expected, "{changes:?}");
            assert!(!fragments(directory.path(), &["one", "three"]), "one is gone");
            assert!(!fragments(directory.path(), &[]), "there is none");
        }
    }
}
