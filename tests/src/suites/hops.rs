//! Next hops follow the kernel: neighbours, routes, links and gateways that change.

use std::net::{IpAddr, TcpListener};

use anyhow::{Context, Result, bail, ensure};
use lb_user::{
    decide::{Host, NextHop, intent::MOST_OWN},
    nexthop::{Lack, Way},
};
use nix::net::if_::if_nametoindex;

use super::{
    small::Small,
    wires::{
        Expected::{self, Behind, Elsewhere, Hop},
        FAR, FAR6, Followed, KNOWN, NEAR, NEAR6, NOBODY, Place, World, configuration,
    },
};
use crate::runner::Case;

/// Addresses of the smallest load balancer that are no VIP's: of lo, and of both versions on the
/// link.
const OTHERS: usize = 5;

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("hops/neighbours-routes-and-links-are-followed", followed),
    Case::network("hops/the-configuration-counts-first", overridden),
    Case::network("hops/the-host-is-told", host),
    Case::network("hops/more-own-addresses-than-nat-knows", too_many_addresses),
    Case::network("hops/a-gateway-that-is-doubted-is-asked", doubted),
    Case::network("hops/a-dead-gateway-is-no-fault-of-the-nodes", dead_gateway),
];

/// What is done, where, in lines of `ip`, and what nodes' ways are then.
type Step = (Place, &'static str, &'static [(&'static str, Expected)]);

const STEPS: &[Step] = &[
    (
        Place::Lb,
        "",
        &[
            (NEAR, Hop("lb1", 0xa1, 1500, "203.0.113.1")),
            (NEAR6, Hop("lb1", 0xa1, 1500, "2001:db8:1::1")),
            (KNOWN, Hop("lb1", 0xcc, 1500, "203.0.113.1")),
            (NOBODY, Expected::Lack(Lack::Silent)),
            (FAR, Expected::Lack(Lack::NoRoute)),
            (FAR6, Expected::Lack(Lack::NoRoute)),
        ],
    ),
    (
        Place::Lb,
        "route add 10.9.0.0/16 via 203.0.113.2 mtu 1400\n\
         route add 2001:db8:9::/48 via fe80::a dev lb1\n",
        &[
            (FAR, Hop("lb1", 0xa1, 1400, "203.0.113.1")),
            (FAR6, Hop("lb1", 0xa1, 1500, "2001:db8:1::1")),
        ],
    ),
    (
        Place::One,
        "link set eth0 address 02:00:00:00:00:a2\n",
        &[
            (NEAR, Hop("lb1", 0xa2, 1500, "203.0.113.1")),
            (NEAR6, Hop("lb1", 0xa2, 1500, "2001:db8:1::1")),
            (FAR, Hop("lb1", 0xa2, 1400, "203.0.113.1")),
            (FAR6, Hop("lb1", 0xa2, 1500, "2001:db8:1::1")),
            (KNOWN, Hop("lb1", 0xcc, 1500, "203.0.113.1")),
        ],
    ),
    (
        Place::Lb,
        "route replace 10.9.0.0/16 via 198.51.100.2\n\
         route replace 2001:db8:9::/48 via fe80::b dev lb2\n",
        &[
            (FAR, Hop("lb2", 0xb1, 1500, "198.51.100.1")),
            (FAR6, Hop("lb2", 0xb1, 1500, "2001:db8:2::1")),
        ],
    ),
    // IPv4 through an IPv6 gateway (RFC 5549), and no way at all.
    (
        Place::Lb,
        "route replace 10.9.0.0/16 via inet6 fe80::a dev lb1\n\
         route replace unreachable 2001:db8:9::/48\n",
        &[(FAR, Hop("lb1", 0xa2, 1500, "203.0.113.1")), (FAR6, Expected::Lack(Lack::NoRoute))],
    ),
    // A next hop object, and another in its place.
    (
        Place::Lb,
        "nexthop add id 5 via 203.0.113.2 dev lb1\n\
         route replace 10.9.0.0/16 nhid 5\n\
         nexthop replace id 5 via 198.51.100.2 dev lb2\n",
        &[(FAR, Hop("lb2", 0xb1, 1500, "198.51.100.1"))],
    ),
    // Several ways at once: one of them.
    (
        Place::Lb,
        "route replace 10.9.0.0/16 nexthop via 198.51.100.2 nexthop via 198.51.100.2 dev lb2\n",
        &[(FAR, Hop("lb2", 0xb1, 1500, "198.51.100.1"))],
    ),
    (Place::Lb, "route replace 10.9.0.0/16 via 192.0.2.2\n", &[(FAR, Elsewhere("lb3"))]),
    (
        Place::Lb,
        "route replace 10.9.0.0/16 via 198.51.100.2\n",
        &[(FAR, Hop("lb2", 0xb1, 1500, "198.51.100.1"))],
    ),
    (Place::Lb, "link set lb2 down\n", &[(FAR, Behind("lb2"))]),
    // What is routed on can go another way.
    (
        Place::Lb,
        "route add default via 203.0.113.2\n",
        &[(FAR, Hop("lb1", 0xa2, 1500, "203.0.113.1"))],
    ),
    (
        Place::Lb,
        "link set lb2 up\nroute add 10.9.0.0/16 via 198.51.100.2\n",
        &[(FAR, Hop("lb2", 0xb1, 1500, "198.51.100.1"))],
    ),
    (
        Place::Lb,
        "link set lb1 mtu 1300\n",
        &[
            (NEAR, Hop("lb1", 0xa2, 1300, "203.0.113.1")),
            (NEAR6, Hop("lb1", 0xa2, 1300, "2001:db8:1::1")),
        ],
    ),
    // No carrier.
    (
        Place::One,
        "link set eth0 down\n",
        &[(NEAR, Behind("lb1")), (NEAR6, Behind("lb1")), (KNOWN, Behind("lb1"))],
    ),
    (
        Place::One,
        "link set eth0 up\naddress replace 2001:db8:1::2/64 dev eth0 nodad\n",
        &[
            (NEAR, Hop("lb1", 0xa2, 1300, "203.0.113.1")),
            (NEAR6, Hop("lb1", 0xa2, 1300, "2001:db8:1::1")),
            (KNOWN, Hop("lb1", 0xcc, 1300, "203.0.113.1")),
        ],
    ),
    // Another address that tunnels are from.
    (
        Place::Lb,
        "address add 203.0.113.7/24 dev lb1\naddress del 203.0.113.1/24 dev lb1\n\
         address add 203.0.113.7/24 dev lb1\n",
        &[(NEAR, Hop("lb1", 0xa2, 1300, "203.0.113.7"))],
    ),
];

fn followed() -> Result<()> {
    World::new()?.follow(configuration("")?, async |world, followed| {
        for (place, script, expected) in STEPS {
            world.ip(*place, script)?;
            for (node, what) in *expected {
                let step = format!("{node} is {what:?} after {script:?}");
                followed.until(&step, |followed| followed.is(node, *what)).await?;
            }
        }
        Ok(())
    })
}

fn overridden() -> Result<()> {
    let interface = r#"mac = "02:00:00:00:00:11"
gateway_mac = "02:00:00:00:00:22"
address = "192.0.2.77"
address6 = "2001:db8:77::1"
"#;
    let world = World::new()?;
    world.lb.ip("route add 10.9.0.0/16 via 203.0.113.99\n\
         route add 2001:db8:9::/48 via fe80::99 dev lb1\n")?;
    // Nobody has the gateways' addresses.
    let expected = [(NEAR, 0xa1), (NEAR6, 0xa1), (FAR, 0x22), (FAR6, 0x22), (KNOWN, 0xcc)];
    world.follow(configuration(interface)?, async |_, followed| {
        for (node, mac) in expected {
            let address: IpAddr = node.parse()?;
            let source = if address.is_ipv4() { "192.0.2.77" } else { "2001:db8:77::1" };
            let hop = NextHop {
                ifindex: if_nametoindex("lb1")?,
                src_mac: [2, 0, 0, 0, 0, 0x11],
                dst_mac: [2, 0, 0, 0, 0, mac],
                mtu: 1500,
                tags: [0; 2],
                source: Some(source.parse()?),
            };
            let is = |followed: &Followed| {
                Ok(followed.ways.get(&address).is_some_and(|found| found.hop == Ok(hop)))
            };
            followed.until(node, is).await?;
        }
        Ok(())
    })
}

fn host() -> Result<()> {
    World::new()?.follow(configuration("")?, async |world, followed| {
        let indices = ["lb1", "lb2"].map(if_nametoindex);
        let indices = indices.into_iter().collect::<Result<Vec<_>, _>>()?;
        let is = |has: &str, fragments| {
            let (has, indices) = (has.parse::<IpAddr>(), indices.clone());
            move |followed: &Followed| {
                let Some(host) = &followed.host else { return Ok(false) };
                let has = host.addresses.binary_search(has.as_ref().map_err(Clone::clone)?).is_ok();
                Ok(has && host.fragments == fragments && indices_of(host) == indices)
            }
        };
        for own in ["127.0.0.1", "203.0.113.1", "2001:db8:2::1", "192.0.2.1"] {
            followed.until(own, is(own, false)).await?;
        }
        world.lb.ip("address add 192.0.2.200/32 dev lo\n")?;
        followed.until("another address", is("192.0.2.200", false)).await?;
        let has = |followed: &Followed| {
            let host = followed.host.as_ref().context("it was told")?;
            Ok(host.addresses.contains(&"2001:db8:5::1".parse()?))
        };
        world.lb.ip("address add 2001:db8:5::1/128 dev lo nodad\n")?;
        followed.until("another address of IPv6", has).await?;
        world.lb.ip("address del 2001:db8:5::1/128 dev lo\n")?;
        followed.until("an address less", |followed| Ok(!has(followed)?)).await?;
        // Nothing announces these; strict filters take nothing that is from this host's own address.
        world.lb.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv4/conf/lb1/accept_local", "1"),
            ("ipv4/conf/lb2/accept_local", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/lb1/rp_filter", "0"),
            ("ipv4/conf/lb2/rp_filter", "0"),
        ])?;
        followed.until("it fragments", is("192.0.2.200", true)).await?;
        for (own, setting, value, fragments) in [
            ("192.0.2.201", "ipv4/conf/lb2/rp_filter", "1", false),
            ("192.0.2.202", "ipv4/conf/all/rp_filter", "2", true),
            ("192.0.2.203", "ipv4/conf/lb2/forwarding", "0", false),
        ] {
            world.lb.sysctl(&[(setting, value)])?;
            // An address is announced, so nobody has to wait.
            world.lb.ip(&format!("address add {own}/32 dev lo\n"))?;
            followed.until(&format!("{setting} is {value}"), is(own, fragments)).await?;
        }
        for (script, interfaces) in [
            ("link del lb2\n", vec!["lb1"]),
            ("link add lb2 type veth peer name lb4\n", vec!["lb1", "lb2"]),
        ] {
            world.lb.ip(script)?;
            let indices =
                interfaces.into_iter().map(if_nametoindex).collect::<Result<Vec<_>, _>>()?;
            let has = |followed: &Followed| {
                Ok(followed.host.as_ref().is_some_and(|host| indices_of(host) == indices))
            };
            followed.until(script, has).await?;
        }
        // Which frames that come in by lb1 are for this host.
        for (script, mac) in [
            ("link set lb1 address 02:00:00:00:00:77\n", [2, 0, 0, 0, 0, 0x77]),
            ("link add bridge0 type bridge\nlink set lb1 master bridge0\n", [0; 6]),
            ("link set lb1 nomaster\n", [2, 0, 0, 0, 0, 0x77]),
        ] {
            world.lb.ip(script)?;
            let has = |followed: &Followed| {
                let host = followed.host.as_ref().context("it was told")?;
                Ok(host.interfaces.first().is_some_and(|one| one.mac == mac))
            };
            followed.until(script, has).await?;
        }
        Ok(())
    })
}

/// Of too many addresses those are known that checks come from: answers to them are not rewritten.
fn too_many_addresses() -> Result<()> {
    const CHECKS: u64 = 20;
    let mut small = Small::new()?;
    let _listener = small.client.run(|| Ok(TcpListener::bind(("203.0.113.2", 80))?))?;
    let nat = "name = \"A\"\nforward = \"nat\"";
    let path = small.configuration(&[("name = \"A\"", nat)])?;
    small.start(&path)?;
    // They are before the one on the link.
    let one = |number: usize| {
        format!("address add 10.8.{}.{}/32 dev lo\n", number / 250, 1 + number % 250)
    };
    small.lb.ip(&(0..MOST_OWN + 76).map(one).collect::<String>())?;
    let told = |status: &serde_json::Value| {
        let events = status["events"].as_array().into_iter().flatten();
        let mut told = events.filter(|event| event["kind"] == "too_many_addresses");
        let all = format!("{} addresses more than the {MOST_OWN}", 76 + OTHERS);
        told.any(|event| event["text"].as_str().is_some_and(|text| text.contains(&all)))
    };
    small.until("all of them are there", |small| Ok(told(&small.status()?)))?;
    let counted = |status: &serde_json::Value, reason: &str| status["counters"][reason].as_u64();
    let before = counted(&small.status()?, "pass_not_vip").context("a counter")?;
    small.until("checks went on", |small| {
        Ok(counted(&small.status()?, "pass_not_vip") >= Some(before + CHECKS))
    })?;
    let status = small.status()?;
    let node = &status["clusters"][0]["nodes"][0];
    ensure!(node["state"] == "up", "it is {node}");
    for rewritten in ["reply_sent", "reply_to_host", "pass_expired"] {
        ensure!(counted(&status, rewritten) == Some(0), "{rewritten}: {}", status["counters"]);
    }
    let mut events = status["events"].as_array().into_iter().flatten();
    ensure!(!events.any(|event| event["kind"] == "refused"), "refused: {}", status["events"]);
    Ok(())
}

fn indices_of(host: &Host) -> Vec<u32> {
    host.interfaces.iter().map(|interface| interface.ifindex).collect()
}

/// Gateways of both versions that live when they are doubted, and then do not.
fn doubted() -> Result<()> {
    let world = World::new()?;
    world.lb.ip("route add 10.9.0.0/16 via 203.0.113.2\n\
         route add 2001:db8:9::/48 via fe80::a dev lb1\n")?;
    let retrans = ["ipv4", "ipv6"].map(|version| format!("{version}/neigh/lb1/retrans_time_ms"));
    world.lb.sysctl(&retrans.each_ref().map(|path| (path.as_str(), "200")))?;
    let gateways = ["203.0.113.2".parse::<IpAddr>()?, "fe80::a".parse()?];
    let hops = [Hop("lb1", 0xa1, 1500, "203.0.113.1"), Hop("lb1", 0xa1, 1500, "2001:db8:1::1")];
    let nodes = [(FAR, hops[0], gateways[0]), (FAR6, hops[1], gateways[1])];
    world.follow(configuration("")?, async |world, followed| {
        for (node, hop, gateway) in nodes {
            followed.until(node, |followed| followed.is(node, hop)).await?;
            followed.doubts.send(gateway)?;
            let answered = |followed: &Followed| Ok(followed.answered.contains(&gateway));
            followed.until(&format!("{gateway} answers"), answered).await?;
        }
        world.one.ip("link set eth0 arp off\nlink set eth0 address 02:00:00:00:00:99\n\
             address del fe80::a/64 dev eth0\n")?;
        for (node, _, gateway) in nodes {
            followed.answered.clear();
            followed.doubts.send(gateway)?;
            let is_down = |followed: &Followed| {
                let found = followed.ways.get(&node.parse()?).context("it was found")?;
                ensure!(followed.answered.is_empty(), "{gateway} answers");
                Ok(found.way == Way::GatewayDown { gateway } && found.hop.is_ok())
            };
            followed.until(&format!("{gateway} is down"), is_down).await?;
        }
        // The kernel is asked again and again.
        world.one.ip("link set eth0 arp on\naddress add fe80::a/64 dev eth0 nodad\n")?;
        for (node, hop, _) in nodes {
            let Hop(name, _, mtu, source) = hop else { bail!("it has one") };
            let back = Hop(name, 0x99, mtu, source);
            followed.until("its new MAC", |followed| followed.is(node, back)).await?;
        }
        Ok(())
    })
}

/// A node behind a gateway that falls silent, though its link is up.
fn dead_gateway() -> Result<()> {
    const BEHIND: &str = "198.51.100.9";
    let mut small = Small::new()?;
    small.lb.ip("route add 198.51.100.0/24 via 203.0.113.2\n")?;
    // Without this a busy machine might be later than the checks wait.
    small.lb.sysctl(&[("ipv4/neigh/lb0/retrans_time_ms", "200")])?;
    small.client.ip(&format!("address add {BEHIND}/32 dev lo\n"))?;
    let _listener = small.client.run(|| Ok(TcpListener::bind((BEHIND, 80))?))?;
    let path = small.configuration(&[("203.0.113.2", BEHIND)])?;
    small.start(&path)?;
    let is_up = |small: &Small| {
        let status = small.status()?;
        let node = &status["clusters"][0]["nodes"][0];
        ensure!(node["address"] == BEHIND, "another node: {node}");
        Ok(node["state"] == "up" && node["resolved"] == true)
    };
    let told = |kind: &'static str| {
        move |small: &Small| {
            let status = small.status()?;
            let events = status["events"].as_array().context("no events")?;
            Ok(events.iter().any(|event| event["kind"] == kind))
        }
    };
    small.until("the node is up", is_up)?;
    let gone = "link set eth0 arp off\nlink set eth0 address 02:00:00:00:00:99\n";
    small.client.ip(gone)?;
    small.until("the gateway is down", told("gateway_down"))?;
    ensure!(is_up(&small)?, "the node fell with the gateway: {}", small.log());
    let down = &small.status()?["watched"]["down"];
    ensure!(down[0]["what"] == "gateway 203.0.113.2", "status says {down}");
    small.client.ip("link set eth0 arp on\n")?;
    small.until("the gateway is back", told("gateway_up"))?;
    small.until("its new MAC is found", is_up)?;
    let status = small.status()?;
    let mut events = status["events"].as_array().context("no events")?.iter();
    // Nobody ever answered for the other nodes.
    let fell = events.any(|event| event["kind"] == "node_down" && event["subject"] == "A/a1");
    ensure!(!fell, "the node fell: {}", small.log());
    Ok(())
}
