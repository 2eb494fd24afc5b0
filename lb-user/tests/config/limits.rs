//! As much as the maps can take, and one more.

use std::fmt::Write;

use lb_common::layout::{MAX_CLUSTERS, MAX_INTERFACES, MAX_NODES, MAX_SERVICES};
use lb_user::config;

/// A file with so many clusters of so many nodes, and so many services on the first one.
fn file(clusters: u32, nodes: u32, services: u32, lines: &str) -> String {
    let mut text = String::from("[lb]\nsecret = \"00112233445566778899aabbccddeeff\"\n");
    let mut host = 0;
    for cluster in 0..clusters {
        let list: Vec<_> = (0..nodes)
            .map(|node| {
                host += 1;
                let [_, a, b, c] = (host as u32).to_be_bytes();
                format!("{{ name = \"n{node}\", address = \"10.{a}.{b}.{c}\" }}")
            })
            .collect();
        let list = list.join(",\n");
        let _ = writeln!(
            text,
            "[[cluster]]\nname = \"c{cluster}\"\nhealth = {{ port = 80 }}\nnodes = [{list}]"
        );
    }
    for service in 0..services {
        let port = service + 1;
        let _ = writeln!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"192.0.2.10:{port}\"\n{lines}"
        );
    }
    text
}

fn errors(text: &str) -> Vec<String> {
    match config::parse(text, "lb.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.list().into_iter().map(|(.., message)| message.to_owned()).collect(),
    }
}

#[test]
fn services_clusters_nodes() {
    let one = "masters = [\"c0\"]";
    let none: [&str; 0] = [];
    assert_eq!(errors(&file(1, 1, MAX_SERVICES, one)), none);
    assert_eq!(errors(&file(1, 1, MAX_SERVICES + 1, one)), ["more than 1024 services"]);
    assert_eq!(errors(&file(MAX_CLUSTERS, 1, 1, one)), none);
    assert_eq!(errors(&file(MAX_CLUSTERS + 1, 1, 1, one)), ["more than 1024 node tables"]);
    assert_eq!(errors(&file(2, MAX_NODES / 2, 1, one)), none);
    assert_eq!(errors(&file(1, MAX_NODES + 1, 1, one)), ["more than 4096 nodes"]);
    // A master of a service that panics to all nodes has a second table, once; a standby has not.
    let all = "backup = \"one-standby\"\nmasters = [\"c0\"]\nstandbys = [\"c1\"]\npanic = \"all\"";
    assert_eq!(errors(&file(MAX_CLUSTERS - 1, 1, 2, all)), none);
    assert_eq!(errors(&file(MAX_CLUSTERS, 1, 2, all)), ["more than 1024 node tables"]);
}

#[test]
fn interfaces() {
    let interface = |i| format!("[[interface]]\nname = \"eth{i}\"\n");
    let text = |count| (0..count).map(interface).collect::<String>();
    let rest = file(1, 1, 1, "masters = [\"c0\"]");
    assert!(config::parse(&(text(MAX_INTERFACES) + &rest), "lb.toml").is_ok());
    let nine = config::parse(&(text(MAX_INTERFACES + 1) + &rest), "lb.toml");
    let errors = nine.expect_err("nine").list().into_iter().map(|e| (e.0, e.2.to_owned())).next();
    assert_eq!(errors, Some((17, "more than 8 interfaces".to_owned())));
}

/// Each port of a node in a `nat` cluster has a place in a table, by which its replies are known.
#[test]
fn replies() {
    let nat = |nodes: u32, services: u32| {
        let text = file(1, nodes, services, "masters = [\"c0\"]");
        text.replace("name = \"c0\"", "name = \"c0\"\nforward = \"nat\"")
    };
    let none: [&str; 0] = [];
    let too_many = ["more than 4096 ports of nodes in nat clusters"];
    assert_eq!(errors(&nat(4096, 1)), none);
    assert_eq!(errors(&nat(2048, 2)), none);
    assert_eq!(errors(&nat(8, 512)), none);
    assert_eq!(errors(&nat(1366, 3)), too_many);
    assert_eq!(errors(&nat(9, 512)), too_many);
    // It is said of the first service that has no room.
    let full = config::parse(&nat(9, 512), "lb.toml").expect_err("4608 ports");
    let lines = nat(9, 512);
    let at = lines.lines().nth(full.list()[0].0);
    assert_eq!(at, Some("name = \"s455\""));
    // With other ways of forwarding there is none; a second protocol counts for itself.
    assert_eq!(errors(&nat(9, 512).replace("\"nat\"", "\"ipip\"")), none);
    let udp = nat(2048, 1) + "protocol = \"udp\"\nhealth = { kind = \"icmp\" }\n";
    let tcp = "[[service]]\nname = \"t\"\naddress = \"192.0.2.10:1\"\nmasters = [\"c0\"]\n";
    assert_eq!(errors(&(udp.clone() + tcp)), none);
    let more = "[[service]]\nname = \"u\"\naddress = \"192.0.2.10:9\"\nmasters = [\"c0\"]\n";
    assert_eq!(errors(&(udp + tcp + more)), too_many);
    // Ranges have a table of their own, and one place for all of a node's.
    let ranges = |nodes: u32, services: u32| {
        let mut text = nat(nodes, 0);
        for service in 0..services {
            let (first, last) = (2 * service + 1, 2 * service + 2);
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service}\"\naddress = \"192.0.2.10:{first}-{last}\"\n\
                 masters = [\"c0\"]"
            );
        }
        errors(&text)
    };
    assert_eq!(ranges(8, 512), none);
    assert_eq!(ranges(9, 455), none);
    assert_eq!(ranges(9, 456), ["more than 4096 ranges of ports of nodes in nat clusters"]);
}

#[test]
fn slot_memory() {
    let masters = |first: u32| {
        let names: Vec<_> = (first..64).map(|cluster| format!("\"c{cluster}\"")).collect();
        format!("backup = \"multi-master\"\nmasters = [{}]", names.join(", "))
    };
    // 400 services of one shape share one table of 64 chunks …
    let same = file(64, 1, 400, &masters(0));
    assert!(config::parse(&same, "lb.toml").is_ok_and(|checked| checked.warnings.is_empty()));
    // … and 400 of other shapes have 64 each: more than there are.
    let different = |count: u32| {
        let mut text = file(64, 1, 0, "");
        for service in 0..count {
            let shape = masters(0)
                .replace("\"c0\"", &format!("{{ cluster = \"c0\", weight = {service} }}"));
            let port = service + 1;
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service}\"\naddress = \"192.0.2.10:{port}\"\n{shape}"
            );
        }
        config::parse(&text, "lb.toml")
    };
    // A quarter of it holds 94 of them beside the 64 clusters' tables of 2 chunks.
    let few = different(94).map(|checked| checked.warnings.len());
    assert_eq!(few.ok(), Some(0));
    let some = different(95).map(|checked| checked.warnings);
    let some = some.map(|all| all.iter().map(|w| w.message().to_owned()).collect::<Vec<_>>());
    assert!(
        some.is_ok_and(
            |all| all.len() == 1 && all[0].contains("no room to remember what they were")
        )
    );
    let many = different(400).map_err(|errors| errors.to_string());
    assert!(many.is_err_and(|errors| errors.contains("chunks of memory, there are 24576")));
}

/// A service that checks a cluster otherwise than others do has tables of its own.
#[test]
fn node_tables_by_way_of_checking() {
    let text = |services: u32, port: &str| {
        let masters = "backup = \"multi-master\"\nmasters = [\"c0\", \"c1\", \"c2\"]";
        file(3, 1, services, masters).replace("health = { port = 80 }", port)
    };
    assert!(config::parse(&text(341, ""), "lb.toml").is_ok(), "1023 tables");
    assert!(config::parse(&text(400, "health = { port = 80 }"), "lb.toml").is_ok(), "3 tables");
    let errors = config::parse(&text(400, ""), "lb.toml").expect_err("1200 tables");
    let [(line, _, message)] = errors.list()[..] else { panic!("{errors}") };
    assert_eq!(message, "more than 1024 node tables");
    // The 342nd service is the first that has no room: 2 lines of [lb], 12 of clusters, 4 each.
    let at = text(400, "").lines().nth(line - 1).map(str::to_owned);
    let service = text(400, "").lines().nth(line).map(str::to_owned);
    assert_eq!((at.as_deref(), service.as_deref()), (Some("[[service]]"), Some("name = \"s341\"")));
    let help = errors.render(false);
    assert!(help.contains("{ port = … }"), "{help}");
}

/// With `nat` there is a table for each port that services give a cluster, and one more in panic.
#[test]
fn node_tables_by_port() {
    let text = |clusters: u32, services: u32, lines: &str| {
        let mut text = file(clusters, 1, 0, "");
        text = text.replace("name = \"c0\"", "name = \"c0\"\nforward = \"nat\"");
        for service in 1..=services {
            let port = 1000 + service;
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service}\"\naddress = \"192.0.2.10:{service}\"\n\
                 masters = [{{ cluster = \"c0\", port = {port} }}]\n{lines}"
            );
        }
        text
    };
    let none: [&str; 0] = [];
    let too_many = ["more than 1024 node tables"];
    let all = "panic = \"all\"";
    assert_eq!(errors(&text(1, MAX_SERVICES, "")), none);
    assert_eq!(errors(&text(2, MAX_SERVICES, "")), too_many);
    let few = MAX_SERVICES / 2;
    assert_eq!(errors(&text(MAX_CLUSTERS - few + 1, few, "")), none);
    assert_eq!(errors(&text(MAX_CLUSTERS - few + 2, few, "")), too_many);
    assert_eq!(errors(&text(1, few, all)), none);
    assert_eq!(errors(&text(2, few, all)), too_many);
}
