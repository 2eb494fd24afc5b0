//! Addresses and ports of services. A configuration is taken exactly if it leaves no packet and no
//! reply in doubt. The mark `▶` is where it is said.

use std::collections::BTreeSet;

use lb_user::config::{self, Ports};
use proptest::{prelude::*, strategy::ValueTree};

use crate::{
    expect::expect,
    forward::{ICMP, NODE, cluster, errors, service},
    good::accept,
};

#[test]
fn destinations() {
    let range = |first, last| Ports::Range { first, last };
    for (text, address, ports, shown) in [
        ("192.0.2.1:1", "192.0.2.1", Ports::One(1), ""),
        ("192.0.2.1:65535", "192.0.2.1", Ports::One(65_535), ""),
        ("192.0.2.1:8000-8010", "192.0.2.1", range(8000, 8010), ""),
        ("192.0.2.1:1-65535", "192.0.2.1", range(1, 65_535), ""),
        // Else an exact port beside it would count before it, always.
        ("192.0.2.1:80-80", "192.0.2.1", Ports::One(80), "192.0.2.1:80"),
        ("192.0.2.1:*", "192.0.2.1", Ports::All, ""),
        ("[2001:db8::1]:443", "2001:db8::1", Ports::One(443), ""),
        ("[2001:DB8:0::1]:1-2", "2001:db8::1", range(1, 2), "[2001:db8::1]:1-2"),
        ("[64:ff9b::192.0.2.1]:*", "64:ff9b::c000:201", Ports::All, "[64:ff9b::c000:201]:*"),
    ] {
        let node = if text.starts_with('[') { "\"2001:db8:1::1\"" } else { NODE };
        let text_ = cluster("A", ICMP, node) + &service("web", &format!("\"{text}\""), "");
        let service = accept(&text_).config.services.remove(0);
        assert_eq!((service.address.to_string().as_str(), service.ports), (address, ports));
        let shown = if shown.is_empty() { text } else { shown };
        assert_eq!(service.destination().to_string(), shown);
    }
}

#[test]
fn ports() {
    let range = Ports::Range { first: 10, last: 20 };
    let one = Ports::One(20);
    assert_eq!([one.one(), range.one(), Ports::All.one()], [Some(20), None, None]);
    assert_eq!([one.first(), range.first(), Ports::All.first()], [20, 10, 1]);
    for (ports, port, is) in [
        (one, 20, true),
        (one, 19, false),
        (range, 9, false),
        (range, 10, true),
        (range, 20, true),
        (range, 21, false),
        (Ports::All, 1, true),
        (Ports::All, 65_535, true),
        (Ports::All, 0, false),
    ] {
        assert_eq!(ports.contains(port), is, "{port} in {ports}");
        assert_eq!(port > 0 && ports.overlaps(Ports::One(port)), is, "{port} in {ports}");
    }
}

#[test]
fn services_that_share_an_address() {
    let file = |lists: &[(&str, &str)]| {
        let name = |i: usize| format!("s{i}");
        let services = lists
            .iter()
            .enumerate()
            .map(|(i, (address, lines))| service(&name(i), &format!("\"{address}\""), lines));
        let own = cluster("A", &format!("forward = \"ipip\"\n{ICMP}"), NODE);
        own + &services.collect::<String>()
    };
    let udp = "protocol = \"udp\"";
    let good: &[&[(&str, &str)]] = &[
        // One port counts before a range, a range before all.
        &[("192.0.2.1:80", ""), ("192.0.2.1:79-81", ""), ("192.0.2.1:*", "")],
        &[("192.0.2.1:79-81", ""), ("192.0.2.1:82-90", "")],
        &[("192.0.2.1:79-81", ""), ("192.0.2.1:79-81", udp)],
        &[("192.0.2.1:79-81", ""), ("192.0.2.2:80-90", ""), ("[2001:db8::1]:80-90", "")],
        &[("192.0.2.1:*", ""), ("192.0.2.1:*", udp), ("192.0.2.2:*", "")],
        &[("192.0.2.1:80", ""), ("192.0.2.1:80", udp), ("192.0.2.1:81", "")],
    ];
    for services in good {
        assert_eq!(errors(&file(services)), "", "{services:?}");
    }
    for (first, second, message) in [
        ("192.0.2.1:80", "192.0.2.1:80", "two services have the address 192.0.2.1:80"),
        ("192.0.2.1:80", "192.0.2.1:80-80", "two services have the address 192.0.2.1:80"),
        ("192.0.2.1:*", "192.0.2.1:*", "two services have the address 192.0.2.1:*"),
        ("192.0.2.1:8-9", "192.0.2.1:8-9", "two services have the address 192.0.2.1:8-9"),
        (
            "[2001:db8::1]:8-9",
            "[2001:db8:0::1]:9-10",
            "[2001:db8::1]:9-10 and service \"a\", [2001:db8::1]:8-9, have ports in common",
        ),
        ("192.0.2.1:1-9", "192.0.2.1:5-6", "have ports in common"),
        ("192.0.2.1:5-6", "192.0.2.1:1-9", "have ports in common"),
    ] {
        let own = cluster("A", &format!("forward = \"ipip\"\n{ICMP}"), NODE);
        let text = own
            + &service("a", &format!("\"{first}\""), "")
            + &service("b", &format!("▶\"{second}\""), "");
        let help = if message.contains("common") { "a range in *" } else { "of its own" };
        expect(&text, &[(message, help)]);
    }
}

/// A service by chance: address, whether by UDP, ports; and for each of two clusters whether it is
/// in it, with which port.
type Chance = (u8, bool, (u16, u16), [Option<u16>; 2]);

fn chance() -> impl Strategy<Value = Chance> {
    let port = || prop::option::of(0..4u16);
    (0..2u8, any::<bool>(), (1..6u16, 0..6u16), [port(), port()])
}

/// A last port of 0 makes all of them, one before the first just that.
fn ports_of((first, last): (u16, u16)) -> Ports {
    match last {
        0 => Ports::All,
        _ if last <= first => Ports::One(first),
        _ => Ports::Range { first, last },
    }
}

/// Such services over two `nat` clusters of one node; that of B has port 3.
fn table(list: &[Chance]) -> String {
    let mut text = cluster("A", &format!("forward = \"nat\"\n{ICMP}"), NODE)
        + &cluster("B", &format!("forward = \"nat\"\n{ICMP}"), "\"10.0.2.1\", port = 3");
    for (i, (host, udp, ports, seats)) in list.iter().enumerate() {
        let seat = |(name, port): (&str, &Option<u16>)| match port {
            None => None,
            Some(0) => Some(format!("\"{name}\"")),
            Some(port) => Some(format!("{{ cluster = \"{name}\", port = {port} }}")),
        };
        let masters: Vec<_> = ["A", "B"].into_iter().zip(seats).filter_map(seat).collect();
        let protocol = if *udp { "udp" } else { "tcp" };
        let lines = format!(
            "backup = \"none\"\nprotocol = \"{protocol}\"\nmasters = [{}]",
            masters.join(", ")
        );
        text +=
            &service(&format!("s{i}"), &format!("\"192.0.2.{host}:{}\"", ports_of(*ports)), &lines);
    }
    text
}

/// Whether such a table holds together, by what each packet and each reply would be for.
fn is_good(list: &[Chance]) -> bool {
    let mut packets = BTreeSet::new();
    let mut replies = [BTreeSet::new(), BTreeSet::new()];
    // Ports beyond the tenth tell nothing new here.
    let each = |ports: Ports| (ports.first()..=ports.last()).take(10);
    let mut is_good = true;
    for &(host, udp, ports, seats) in list {
        let ports = ports_of(ports);
        let rank = std::mem::discriminant(&ports);
        for port in each(ports) {
            is_good &= packets.insert((host, udp, format!("{rank:?}"), port));
        }
        for (cluster, seat) in seats.into_iter().enumerate() {
            let Some(of_member) = seat else { continue };
            let given = Some(of_member).filter(|port| *port > 0).or([None, Some(3)][cluster]);
            is_good &= given.is_none() || ports.one().is_some();
            for port in each(given.map_or(ports, Ports::One)) {
                is_good &= replies[cluster].insert((udp, port));
            }
        }
        is_good &= seats != [None, None];
    }
    is_good
}

#[test]
fn chance_makes_good_tables_and_bad_ones() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let tables = prop::collection::vec(chance(), 1..4);
    let one = |_| tables.new_tree(&mut runner).map(|tree| is_good(&tree.current()));
    let good = (0..1000).map(one).filter(|good| matches!(good, Ok(true))).count();
    assert!((100..900).contains(&good), "{good} of 1000");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Services on few addresses and ports, over two nodes: taken exactly if each packet is for one
    /// service at each rank, and each reply is of one.
    #[test]
    fn tables_are_taken_exactly_if_they_are_unambiguous(
        list in prop::collection::vec(chance(), 1..4)
    ) {
        let text = table(&list);
        let found = config::parse(&text, "lb.toml");
        let said = found.as_ref().err().map_or_else(String::new, ToString::to_string);
        prop_assert_eq!(found.is_ok(), is_good(&list), "{}\n{}", text, said);
    }

    /// Any text in the place of an address: no panic, and what is taken says itself.
    #[test]
    fn any_destination_is_taken_or_refused(text in "[0-9a-f:.*\\[\\]-]{0,24}|\\[[0-9a-f:]{2,9}\\]:[0-9*-]{1,6}") {
        let file = |at: &str| {
            cluster("A", &format!("forward = \"gue\"\n{ICMP}"), NODE)
                + &service("web", &format!("\"{at}\""), "")
        };
        match config::parse(&file(&text), "lb.toml") {
            Err(errors) => prop_assert!(errors.list().iter().all(|(line, ..)| *line == 8)),
            Ok(checked) => {
                let service = &checked.config.services[0];
                let shown = service.destination().to_string();
                let again = accept(&file(&shown)).config;
                prop_assert_eq!(&again.services[0], service);
                prop_assert!(service.ports.first() > 0 && service.ports.first() <= service.ports.last());
            }
        }
    }
}
