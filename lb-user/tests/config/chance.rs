//! Random services over random ports: a configuration is taken exactly if it leaves no packet and no
//! reply in doubt.

use std::collections::BTreeSet;

use lb_user::config::{self, Ports};
use proptest::{prelude::*, strategy::ValueTree};

use crate::{
    forward::{ICMP, NODE, cluster, service},
    good::accept,
};

/// A service by chance: address, whether by UDP, ports; and for each of two clusters whether it is
/// in it, with which port.
type Chance = (u8, bool, (u16, u16), [Option<u16>; 2]);

fn chance() -> impl Strategy<Value = Chance> {
    let port = || prop::option::of(0..4u16);
    (0..2u8, any::<bool>(), (1..6u16, 0..6u16), [port(), port()])
}

/// Port 0 is none, a last port before the first is all of them.
fn ports_of((first, last): (u16, u16)) -> Ports {
    match last {
        0 => Ports::All,
        _ if last <= first => Ports::One(first),
        _ => Ports::Range { first, last },
    }
}

/// The file, and its services with the ports of each cluster in them (of the ones by NAT).
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
