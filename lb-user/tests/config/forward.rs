//! Ways of forwarding, and what they need of nodes, services and checks: what is accepted, what
//! becomes of it, and what does not go together. The mark `▶` is where it is said.

use std::collections::BTreeSet;

use lb_common::Forward;
use lb_user::config::{self, *};

use crate::{
    expect::expect,
    good::{EXAMPLES, accept},
};

/// A cluster with these lines, of one node whose address and more this is.
pub(crate) fn cluster(name: &str, lines: &str, node: &str) -> String {
    format!(
        "[[cluster]]\nname = \"{name}\"\n{lines}\nnodes = [{{ name = \"n\", address = {node} }}]\n"
    )
}

/// A service on this address of cluster A with these lines.
pub(crate) fn service(name: &str, address: &str, lines: &str) -> String {
    let masters = if lines.contains("masters") { "" } else { "masters = [\"A\"]\n" };
    format!("[[service]]\nname = \"{name}\"\naddress = {address}\n{masters}{lines}\n")
}

pub(crate) const NODE: &str = "\"10.0.1.1\"";
pub(crate) const ICMP: &str = "health = { kind = \"icmp\" }";

/// All that is wrong with it; empty if nothing is.
pub(crate) fn errors(text: &str) -> String {
    config::parse(text, "lb.toml").err().map_or_else(String::new, |errors| errors.to_string())
}

#[test]
fn values_as_written() {
    let text = cluster("A", "forward = \"gue\"\ngue_port = 7000", NODE)
        + &cluster("B", "forward = \"ipip\"", "\"2001:db8::2\"")
        + &cluster("C", "forward = \"nat\"", "\"10.0.3.1\", port = 8080")
        + &cluster("D", "forward = \"l2\"", "\"10.0.4.1\"")
        + "[[interface]]\nname = \"eth0\"\naddress = \"10.0.0.2\"\naddress6 = \"2001:db8::2:1\"\n\
           mac = \"02:00:00:00:00:01\"\n"
        + &service(
            "web",
            "\"192.0.2.10:443\"",
            "backup = \"none\"\naffinity = \"source\"\nmasters = [\"A\", \"B\", \"C\", \"D\"]",
        );
    let Config { interfaces, clusters, services, .. } = accept(&text).config;
    let ways: Vec<_> = clusters.iter().map(|c| (c.forward, c.gue_port)).collect();
    let default = DEFAULT_GUE_PORT;
    let expected = [
        (Forward::Gue, 7000),
        (Forward::Ipip, default),
        (Forward::Nat, default),
        (Forward::L2, default),
    ];
    assert_eq!((ways, default), (expected.to_vec(), 6080));
    let interface = Interface {
        name: "eth0".into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        gateway_mac: None,
        address: Some([10, 0, 0, 2].into()),
        address6: "2001:db8::2:1".parse().ok(),
    };
    assert_eq!((interfaces, services[0].affinity), (vec![interface], Affinity::Source));
    let ports: Vec<_> = services[0]
        .members()
        .map(|member| services[0].ports_of(member, &clusters[member.cluster].nodes[0]))
        .collect();
    assert_eq!(ports, [443, 443, 8080, 443].map(Ports::One));
    // What the service says of the cluster's port counts before the node's own.
    let text = cluster("A", "forward = \"nat\"", "\"10.0.1.1\", port = 8080")
        + &service("web", "\"192.0.2.1:80\"", "masters = [{ cluster = \"A\", port = 90 }]");
    let config = accept(&text).config;
    let service = &config.services[0];
    let ports = service.ports_of(&service.masters[0], &config.clusters[0].nodes[0]);
    assert_eq!(ports, Ports::One(90));
}

#[test]
fn only_tunnels_change_the_ip_version() {
    for (way, mixes) in [("l2", false), ("ipip", true), ("gue", true), ("nat", false)] {
        for (node, vip, is, wants) in [
            ("2001:db8::9", "192.0.2.1:80", "IPv6", "IPv4"),
            ("10.0.0.1", "[2001:db8::1]:80", "IPv4", "IPv6"),
        ] {
            let way = format!("forward = \"{way}\"");
            let text =
                |node: &str| cluster("A", &way, node) + &service("web", &format!("\"{vip}\""), "");
            if mixes {
                assert_eq!(errors(&text(&format!("\"{node}\""))), "");
            } else {
                let message = format!("{node} is {is}, and service \"web\" is {wants}");
                let help = format!("with {way} nodes have the IP version");
                expect(&text(&format!("▶\"{node}\"")), &[(&message, &help)]);
            }
        }
    }
    // Nodes of both are good together behind a tunnel; else the first wrong one is told of.
    let nodes = "\"10.0.0.1\" }, { name = \"m\", address = ▶\"2001:db8::9\" }, \
                 { name = \"o\", address = \"2001:db8::8\"";
    let web = service("web", "\"192.0.2.1:80\"", "") + &service("6", "\"[2001:db8::1]:80\"", "");
    let tunnel = cluster("A", "forward = \"ipip\"", nodes) + &web;
    assert_eq!(errors(&tunnel.replace('▶', "")), "");
    let flat = cluster("A", "", nodes) + &web;
    let says = [("2001:db8::9 is IPv6, and service \"web\" is IPv4", "\"ipip\" and \"gue\"")];
    expect(&flat, &says);
    expect(&(cluster("A", "forward = \"nat\"", nodes) + &web), &says);
}

#[test]
fn only_nat_changes_ports() {
    let web = service("web", "\"192.0.2.1:80\"", "");
    let own = service("web", "\"192.0.2.1:80\"", "masters = [{ cluster = \"A\", port = ▶8080 }]");
    for way in ["l2", "ipip", "gue"] {
        let way = format!("forward = \"{way}\"");
        let says = [("8080 is not the port of service \"web\", 80", "only forward = \"nat\" can")];
        expect(&(cluster("A", &way, "\"10.0.1.1\", port = ▶8080") + &web), &says);
        expect(&(cluster("A", &way, NODE) + &own), &says);
        assert_eq!(errors(&(cluster("A", &way, "\"10.0.1.1\", port = 80") + &web)), "");
    }
    let nat = "forward = \"nat\"";
    assert_eq!(errors(&(cluster("A", nat, "\"10.0.1.1\", port = 8080") + &web)), "");
    assert_eq!(errors(&(cluster("A", nat, NODE) + &own.replace('▶', ""))), "");
    // On several ports packets keep theirs, however they are forwarded.
    for (way, ports) in [("l2", "80-90"), ("gue", "*"), ("nat", "80-90"), ("nat", "*")] {
        let lines = format!("forward = \"{way}\"\n{ICMP}");
        let at = format!("\"192.0.2.1:{ports}\"");
        let message = format!("service \"web\" is on several ports, {ports}, and packets keep");
        let says = [(message.as_str(), "leave it out; the port of a check is health")];
        let node = cluster("A", &lines, "\"10.0.1.1\", port = ▶80");
        expect(&(node + &service("web", &at, "")), &says);
        let own = service("web", &at, "masters = [{ cluster = \"A\", port = ▶80 }]");
        expect(&(cluster("A", &lines, NODE) + &own), &says);
    }
}

#[test]
fn replies_of_nat_nodes_belong_to_one_service() {
    let nat = "forward = \"nat\"";
    let a = |node: &str| cluster("A", &format!("{nat}\n{ICMP}"), node);
    let b = |node: &str| cluster("B", &format!("{nat}\n{ICMP}"), node);
    let on =
        |port: &str, mark: &str| format!("masters = [{{ cluster = {mark}\"A\", port = {port} }}]");
    let web = service("web", "\"192.0.2.1:80\"", "");
    let port_b = "masters = [\"B\"]";
    let good = [
        // By protocol, by port, by address; and what is one server for one service.
        a(NODE) + &web + &service("dns", "\"192.0.2.1:80\"", "protocol = \"udp\""),
        a(NODE) + &web + &service("alt", "\"192.0.2.2:80\"", &on("81", "")),
        a(NODE) + &web + &service("alt", "\"192.0.2.1:81\"", ""),
        a(NODE) + &web + &service("alt", "\"192.0.2.2:81-90\"", ""),
        a(NODE) + &service("alt", "\"192.0.2.2:70-79\"", "") + &web,
        a(NODE) + &b("\"10.0.2.1\"") + &web + &service("alt", "\"192.0.2.2:80\"", port_b),
        a("\"10.0.1.1\", port = 1 }, { name = \"m\", address = \"10.0.1.1\", port = 2")
            + &service("web", "\"192.0.2.1:80\"", &on("3", "")),
        // Others answer clients themselves.
        a("\"10.0.1.1\", port = 8080")
            + &cluster("B", "forward = \"l2\"", "\"10.0.1.1\"")
            + &web
            + &service("alt", "\"192.0.2.2:80\"", port_b),
    ];
    for text in good {
        assert_eq!(errors(&text), "", "{text}");
    }
    let two = "\"10.0.1.1\" }, { name = \"m\", address = \"10.0.1.2\"";
    let marked = "masters = [▶\"A\"]";
    for (text, at) in [
        (a(NODE) + &web + &service("alt", "\"192.0.2.2:80\"", marked), "10.0.1.1:80"),
        (a(NODE) + &web + &service("alt", "\"192.0.2.2:81\"", &on("80", "▶")), "10.0.1.1:80"),
        (a(NODE) + &web + &service("alt", "\"192.0.2.2:*\"", marked), "10.0.1.1:*"),
        (a(NODE) + &web + &service("alt", "\"192.0.2.1:*\"", marked), "10.0.1.1:*"),
        (a(NODE) + &web + &service("alt", "\"192.0.2.1:79-81\"", marked), "10.0.1.1:79-81"),
        (
            a(NODE)
                + &service("web", "\"192.0.2.1:1-80\"", "")
                + &service("alt", "\"192.0.2.2:80-90\"", marked),
            "10.0.1.1:80-90",
        ),
        // Once for two services, however many nodes they share.
        (a(two) + &web + &service("alt", "\"192.0.2.2:80\"", marked), "10.0.1.1:80"),
        (
            a("\"10.0.1.1\", port = 1")
                + &b("\"10.0.1.1\", port = 2")
                + &service("web", "\"192.0.2.1:80\"", &on("5", ""))
                + &service("alt", "\"192.0.2.2:80\"", "masters = [{ cluster = ▶\"B\", port = 5 }]"),
            "10.0.1.1:5",
        ),
    ] {
        let message = format!("{at} would serve service \"web\" and service \"alt\"");
        expect(&text, &[(&message, "another port in one of them")]);
    }
}

#[test]
fn checks_of_services_on_several_ports() {
    let at = "\"192.0.2.1:8000-8010\"";
    let file = |cluster_: &str, mark: &str, lines: &str| {
        cluster("A", cluster_, NODE) + &service("web", &format!("{mark}{at}"), lines)
    };
    let none =
        "service \"web\" is on several ports, and nothing says on which the nodes of cluster";
    let help = "add health = { port = …";
    for bare in ["", "health = { interval = \"2s\" }", "health = { kind = \"http\" }"] {
        expect(&file(bare, "▶", ""), &[(none, help)]);
    }
    let own = [("service \"web\" is on several ports, and its health names none", help)];
    expect(&file("health = { port = 1 }", "", "health = ▶{ kind = \"http\" }"), &own);
    for good in ["port = 22", "kind = \"icmp\"", "kind = \"udp\", port = 8000, expect = \"x\""] {
        let health = format!("health = {{ {good} }}");
        assert_eq!(errors(&file(&health, "", "")), "");
        assert_eq!(errors(&file("", "", &health)), "");
    }
    // A survey asks the agent's port, of the service's first one.
    let key =
        "[lb]\nsurvey_key = \"00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100\"\n";
    let config = accept(&(key.to_owned() + &file("health = { kind = \"survey\" }", "", ""))).config;
    let targets = lb_user::decide::Pools::of(&config).targets;
    let asked = targets.iter().map(|target| (target.at.port(), target.server.map(|s| s.port)));
    assert_eq!(asked.collect::<Vec<_>>(), [(DEFAULT_AGENT_PORT, Some(8000))]);
    // By UDP nothing is guessed, neither kind nor port.
    let udp = file("", "▶", "protocol = ▶\"udp\"");
    expect(
        &udp,
        &[(none, help), ("service \"web\" is by UDP, and nothing says", "kind = \"udp\"")],
    );
    // What does not go through has one error.
    let bad = file("health = { port = ▶0 }", "", "");
    expect(&bad, &[("0 is out of range", "1 to 65535")]);
}

#[test]
fn checks_through_the_vip() {
    let vip = "health = { via = \"vip\", port = 8005 }";
    let at = "\"192.0.2.1:8000-8010\"";
    for way in ["l2", "ipip", "gue"] {
        let way = format!("forward = \"{way}\"");
        let text = cluster("A", &format!("{way}\n{vip}"), NODE) + &service("web", at, "");
        let config = accept(&text).config;
        let targets = lb_user::decide::Pools::of(&config).targets;
        let vips: Vec<_> = targets.iter().filter_map(|target| Some(target.vip?.at)).collect();
        assert_eq!(vips, [([192, 0, 2, 1], 8005).into()]);
        let text = text.replace("8005", "▶8011");
        let message = "8011 is not the port of service \"web\", 8000-8010";
        expect(&text, &[(message, "on its own port")]);
        assert_eq!(errors(&text.replace('▶', "").replace("8000-8010", "*")), "");
    }
    let message = "via: \"vip\" does not go with forward = \"nat\": nodes of cluster \"A\"";
    let nat = "forward = \"nat\"";
    let via = "health = { via = ▶\"vip\" }";
    let web = service("web", "\"192.0.2.1:80\"", "");
    expect(&(cluster("A", &format!("{nat}\n{via}"), NODE) + &web), &[(message, "\"direct\"")]);
    let own = service("web", "\"192.0.2.1:80\"", via);
    expect(&(cluster("A", nat, NODE) + &own), &[(message, "\"direct\"")]);
    // Their source goes with the VIP, and not with nodes behind a tunnel.
    let tunnel = |source: &str| {
        let health = format!("health = {{ via = \"vip\", source = {source} }}");
        cluster("A", &format!("forward = \"ipip\"\n{health}"), NODE)
            + &service("web", "\"[2001:db8::1]:80\"", "")
    };
    assert_eq!(errors(&tunnel("\"2001:db8::2\"")), "");
    let message = "source: 10.0.0.2 cannot reach 2001:db8::1";
    expect(&tunnel("▶\"10.0.0.2\""), &[(message, "an IPv6 address, as the service has")]);
    let message = "source: 2001:db8::1 is a VIP";
    expect(&tunnel("▶\"2001:db8::1\""), &[(message, "no service's")]);
}

/// Servers on one host are checked as users' packets come to each of them.
#[test]
fn one_host_in_clusters_of_several_ways() {
    let table = [
        ("A", "forward = \"l2\"", ", mac = \"02:00:00:00:00:01\"", 80),
        ("B", "forward = \"ipip\"", "", 81),
        ("C", "forward = \"gue\"", "", 82),
        ("D", "forward = \"gue\"\ngue_port = 6081", "", 83),
    ];
    let text = table.map(|(name, way, more, port)| {
        let node = format!("{NODE}, port = {port}{more}");
        let masters = format!("masters = [\"{name}\"]");
        cluster(name, &format!("{way}\nhealth = {{ via = \"vip\" }}"), &node)
            + &service(&format!("s{name}"), &format!("\"192.0.2.1:{port}\""), &masters)
    });
    let config = accept(&text.concat()).config;
    let targets = lb_user::decide::Pools::of(&config).targets;
    let found: Vec<_> = targets.iter().filter_map(|target| target.vip).collect();
    let default = DEFAULT_GUE_PORT;
    let expected = [
        (80, Forward::L2, default, Some([2, 0, 0, 0, 0, 1])),
        (81, Forward::Ipip, default, None),
        (82, Forward::Gue, default, None),
        (83, Forward::Gue, 6081, None),
    ];
    let expected = expected.map(|(port, forward, gue_port, mac)| {
        let by = Delivery { address: [10, 0, 1, 1].into(), forward, gue_port, mac };
        ThroughVip { at: ([192, 0, 2, 1], port).into(), by }
    });
    assert_eq!(found, expected);
}

#[test]
fn many_errors_at_once() {
    let text = r#"
[[interface]]
name = "eth0"
address = ▶"fe80::1"
address6 = ▶"2001:db8::10"
[[cluster]]
name = "A"
forward = "nat"
gue_port = ▶70000
nodes = [{ name = "a1", address = ▶"::ffff:10.0.1.1" }, { name = "a2", address = ▶"2001:db8::2" }]
[[cluster]]
name = "B"
forward = ▶"vxlan"
nodes = [{ name = "b1", address = "10.0.2.1", port = 8080 }]
[[cluster]]
name = "C"
gue_port = ▶6080
nodes = [{ name = "c1", address = "10.0.3.1", port = ▶8080 }]
[[service]]
name = "web"
address = "192.0.2.1:80"
affinity = ▶"sorce"
backup = "none"
masters = ["A", "B", "C"]
[[service]]
name = "alt"
address = ▶"192.0.2.1:70-90"
masters = ["B"]
[[service]]
name = "more"
address = ▶"192.0.2.1:90-99"
masters = ["B"]
health = ▶{ fall = 1 }
[[service]]
name = "six"
address = "[2001:db8::10]:80"
masters = ["B"]
"#;
    expect(
        text,
        &[
            ("fe80::1 is a link-local address", "unicast"),
            ("2001:db8::10 is also the address of a service", "this host's own"),
            ("gue_port: 70000 is out of range", "from 1 to 65535"),
            ("::ffff:10.0.1.1 is an IPv4-mapped address", "write \"10.0.1.1\""),
            ("2001:db8::2 is IPv6, and service \"web\" is IPv4", "with forward = \"nat\""),
            ("unknown value \"vxlan\"", "possible: \"l2\""),
            ("cluster \"C\" does not forward by gue", "leave it out"),
            ("8080 is not the port of service \"web\", 80", "leave it out"),
            ("unknown value \"sorce\"", "did you mean \"source\"?"),
            ("\"alt\" is on several ports, and nothing says on which", "add health"),
            ("192.0.2.1:90-99 and service \"alt\", 192.0.2.1:70-90, have", "do not overlap"),
            ("\"more\" is on several ports, and its health names none", "add health"),
        ],
    );
}

#[test]
fn the_examples_show_every_way() {
    let configs = EXAMPLES.map(|(_, text)| accept(text).config);
    let clusters = configs.iter().flat_map(|config| &config.clusters);
    let ways: BTreeSet<_> = clusters.map(|cluster| cluster.forward).collect();
    assert!(ways.iter().eq(&Forward::ALL), "{ways:?}");
    let services: Vec<_> = configs.iter().flat_map(|config| &config.services).collect();
    assert!(services.iter().any(|s| s.address.is_ipv6() && s.protocol == Protocol::Udp));
    assert!(services.iter().any(|s| s.ports.one().is_none()));
    assert!(services.iter().any(|s| s.affinity == Affinity::Source));
    assert!(services.iter().flat_map(|s| s.members()).any(|member| member.port.is_some()));
}
