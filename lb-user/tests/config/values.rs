//! Single values that will not do.
//!
//! In the texts `▶` stands before each place where an error is expected.

use lb_user::config;

use crate::expect::expect;

/// Where a bad snippet stands in an otherwise good file.
enum In {
    Lb,
    Interface,
    Cluster,
    Health,
    /// After the node's name and address.
    Node,
    /// Instead of the node's address.
    Address,
    /// Instead of the service's address.
    Vip,
    /// Instead of the service's masters.
    Masters,
    Service,
}

fn file(place: &In, snippet: &str) -> String {
    let or = |is: bool, default: &str| if is { snippet.to_owned() } else { default.to_owned() };
    format!(
        r#"
[lb]
{lb}
[[interface]]
name = "eth0"
{interface}
[[cluster]]
name = "A"
{cluster}
health = {{ {health} }}
nodes = [{{ name = "a1", address = {address} {node} }}]
[[service]]
name = "web"
address = {vip}
masters = {masters}
{service}
"#,
        lb = or(matches!(place, In::Lb), ""),
        interface = or(matches!(place, In::Interface), ""),
        cluster = or(matches!(place, In::Cluster), ""),
        health = or(matches!(place, In::Health), ""),
        address = or(matches!(place, In::Address), "\"10.0.1.1\""),
        node = or(matches!(place, In::Node), ""),
        vip = or(matches!(place, In::Vip), "\"192.0.2.10:443\""),
        masters = or(matches!(place, In::Masters), "[\"A\"]"),
        service = or(matches!(place, In::Service), ""),
    )
}

#[test]
fn the_frame_itself_is_good() {
    let checked = config::parse(&file(&In::Lb, ""), "lb.toml");
    assert!(checked.is_ok(), "{}", checked.err().map_or_else(String::new, |e| e.to_string()));
}

#[test]
fn single_values() {
    let later = "not supported yet by this version";
    let cases: &[(In, &str, &str, &str)] = &[
        (In::Lb, "secret = ▶\"abc\"", "not 32 hex digits (3 characters)", "openssl rand -hex 16"),
        (In::Lb, "secret = ▶\"0123456789abcdef0123456789abcdeg\"", "not 32 hex digits", "32 hex"),
        (In::Lb, "secret = ▶12", "secret: expected a string, found an integer", "32 hex digits"),
        (In::Lb, "hash = ▶\"siphsh\"", "unknown value \"siphsh\"", "did you mean \"siphash\""),
        (In::Lb, "bpffs = ▶\"bpf\"", "bpffs: \"bpf\"", "an absolute path"),
        (In::Lb, "socket = ▶\"control.sock\"", "socket: \"control.sock\"", "at most 107 bytes"),
        (In::Lb, "▶sokcet = \"/run/x\"", "unknown field `sokcet`", "did you mean `socket`?"),
        (In::Lb, "▶zzz = 1", "unknown field `zzz`", "secret, hash, bpffs, socket, freeze"),
        (
            In::Lb,
            "survey_key = ▶\"abc\"",
            "not 64 hex digits (3 characters)",
            "openssl rand -hex 32",
        ),
        (In::Lb, "freeze = ▶\"61m\"", "\"61m\" is out of range", "from \"0s\" to \"1h\""),
        (In::Lb, "freeze = ▶0", "expected a duration, found an integer", "with its unit"),
        (
            In::Lb,
            "▶pin_idle = \"5m\"",
            "`pin_idle` is said of clusters",
            "move it to the [[cluster]]",
        ),
        (In::Lb, "▶ramp = \"5m\"", "`ramp` is said of clusters", "move it to the [[cluster]]"),
        (In::Lb, "pins = ▶1023", "1023 is out of range", "from 1024 to 16777216"),
        (In::Lb, "pins = ▶16777217", "16777217 is out of range", "from 1024 to 16777216"),
        (In::Lb, "pins = ▶\"2 MiB\"", "expected an integer, found a string", "a whole number"),
        (In::Lb, "drain = ▶300", "expected a duration, found an integer", "with its unit"),
        (In::Lb, "drain = ▶\"31days\"", "\"31days\" is out of range", "from \"0s\" to \"30days\""),
        (In::Interface, "mac = ▶\"02:00\"", "\"02:00\" is no MAC", "six bytes"),
        (In::Interface, "mac = ▶\"02:00:00:00:00:0g\"", "no MAC", "02:00:00:00:00:0a"),
        (In::Interface, "mac = ▶\"02:00:00:00:00:00:01\"", "no MAC", "six bytes"),
        (In::Interface, "mac = ▶\"02:00:00:00:00:+1\"", "no MAC", "six bytes"),
        (In::Interface, "gateway_mac = ▶\"ff:ff:ff:ff:ff:ff\"", "no station's", "not broadcast"),
        (In::Interface, "address = ▶\"2001:db8::1\"", "is no IPv4 address", "is `address6`"),
        (In::Interface, "address6 = ▶\"10.0.0.1\"", "is no IPv6 address", "is `address`"),
        (
            In::Interface,
            "address = ▶\"lb.example\"",
            "no IPv4 address",
            "`getent ahosts lb.example`",
        ),
        (In::Interface, "address6 = ▶\"::1\"", "a loopback address", "unicast"),
        (In::Interface, "address6 = ▶\"fe80::1\"", "link-local", "unicast"),
        (In::Interface, "address = ▶3", "expected a string, found an integer", "of this host"),
        (In::Interface, "address = ▶\"10.0.1.1\"", "also the address of a node", "this host's own"),
        (
            In::Interface,
            "address = ▶\"192.0.2.10\"",
            "also the address of a service",
            "this host's own",
        ),
        (
            In::Cluster,
            "weight = ▶\"3\"",
            "weight: expected an integer, found a string",
            "0 to 1000000",
        ),
        (In::Cluster, "weight = ▶-1", "-1 is out of range", "0 to 1000000"),
        (In::Cluster, "weight = ▶1000001", "1000001 is out of range", "0 to 1000000"),
        (In::Cluster, "weight = ▶0xffffffffffffffffffffffffff", "out of range", "0 to 1000000"),
        (In::Cluster, "weight = ▶1.5", "expected an integer, found a float", "whole number"),
        (In::Cluster, "priority = ▶true", "expected an integer, found a boolean", "whole number"),
        (In::Cluster, "min_survival_ratio = ▶1.1", "between 0 and 1", "0.6"),
        (In::Cluster, "min_survival_ratio = ▶-0.1", "between 0 and 1", "0.6"),
        (In::Cluster, "min_survival_ratio = ▶2", "between 0 and 1", "0.6"),
        (In::Cluster, "min_survival_ratio = ▶5e-1", "not a plain decimal number", "0.6"),
        (In::Cluster, "min_survival_ratio = ▶nan", "not a plain decimal number", "0.6"),
        (
            In::Cluster,
            "min_survival_ratio = ▶0.1234567890123456789",
            "at most 18 digits",
            "18 digits",
        ),
        (
            In::Cluster,
            "min_survival_ratio = ▶\"0.5\"",
            "expected a decimal number, found a string",
            "0.6",
        ),
        (In::Cluster, "min_survivors = ▶0", "0 is out of range", "from 1 to 4096"),
        (In::Cluster, "min_survivors = ▶2", "2 is more than the 1 nodes that count", "from 1 to 1"),
        (In::Cluster, "recover_at = ▶2", "recover_at: 2 is more than", "from 1 to 1"),
        (In::Cluster, "recover_at = ▶0.4", "below the threshold", "at least"),
        (In::Cluster, "recover_at = ▶\"all\"", "expected a number", "a ratio like 0.8"),
        (
            In::Cluster,
            "failback = ▶\"later\"",
            "\"later\" is no duration",
            "\"auto\", \"manual\", or",
        ),
        (In::Cluster, "failback = ▶60", "expected a duration, found an integer", "with its unit"),
        (In::Cluster, "failback = ▶\"0s\"", "out of range", "\"auto\""),
        (
            In::Cluster,
            "failback = \"60s\"\nfailback_max = ▶\"30s\"",
            "shorter than failback, 1m",
            "at least failback",
        ),
        (
            In::Cluster,
            "forward = ▶\"l3\"",
            "unknown value \"l3\"",
            "did you mean \"l2\"? possible: \"l2\", \"ipip\", \"gue\", \"nat\"",
        ),
        // What goes with an unknown way nobody knows.
        (In::Cluster, "forward = ▶\"sit\"\ngue_port = 1", "unknown value", "\"ipip\""),
        (In::Cluster, "forward = \"gue\"\ngue_port = ▶0", "0 is out of range", "1 to 65535"),
        (In::Cluster, "gue_port = ▶6080", "cluster \"A\" does not forward by gue", "add forward"),
        (
            In::Cluster,
            "forward = \"ipip\"\ngue_port = ▶6080",
            "does not forward by gue",
            "leave it out",
        ),
        (In::Cluster, "drain = ▶\"5\"", "is no duration", "from \"0s\" to \"30days\""),
        (In::Cluster, "drain_hard = ▶1", "expected a boolean, found an integer", "true or false"),
        (In::Cluster, "pin_idle = ▶\"0s\"", "\"0s\" is out of range", "from \"1s\" to \"30days\""),
        (In::Cluster, "ramp = ▶\"25h\"", "\"25h\" is out of range", "from \"0s\" to \"1day\""),
        (In::Cluster, "slow_start = ▶\"25h\"", "out of range", "from \"0s\" to \"1day\""),
        (In::Cluster, "min_services = ▶-1", "-1 is out of range", "from 0 to 1024"),
        (
            In::Cluster,
            "min_services = ▶2",
            "2 is more than the services of cluster \"A\", 1",
            "0 to 1",
        ),
        (In::Cluster, "▶dispatch = \"direct\"", later, "leave it out"),
        (In::Cluster, "▶wieght = 3", "unknown field `wieght`", "did you mean `weight`?"),
        (In::Health, "kind = ▶\"tpc\"", "unknown value \"tpc\"", "did you mean \"tcp\"?"),
        (In::Health, "port = ▶0", "0 is out of range", "from 1 to 65535"),
        (In::Health, "port = ▶65536", "65536 is out of range", "from 1 to 65535"),
        (In::Health, "interval = ▶\"1\"", "time unit needed", "from \"10ms\" to \"1h\""),
        (In::Health, "interval = ▶\"9ms\"", "\"9ms\" is out of range", "from \"10ms\" to \"1h\""),
        (In::Health, "interval = ▶\"61m\"", "\"61m\" is out of range", "to \"1h\""),
        (In::Health, "interval = ▶5", "expected a duration, found an integer", "with its unit"),
        (In::Health, "interval = ▶\"-1s\"", "is no duration", "with its unit"),
        (In::Health, "timeout = ▶\"2s\"", "longer than the interval, 1s", "at most the interval"),
        (In::Health, "fall = ▶0", "0 is out of range", "from 1 to 100"),
        (In::Health, "rise = ▶101", "101 is out of range", "from 1 to 100"),
        (In::Address, "▶\"10.0.1\"", "\"10.0.1\" is no IP address", "an IP address, for"),
        (
            In::Address,
            "▶\"10.0.1.1:443\"",
            "is no IP address",
            "address = \"10.0.1.1\", port = 443",
        ),
        (
            In::Address,
            "▶\"web1.example\"",
            "is no IP address",
            "`getent ahosts web1.example` shows",
        ),
        (In::Address, "▶\"web1\"", "is no IP address", "Names are not resolved"),
        (
            In::Address,
            "▶\"[2001:db8::1]:443\"",
            "is no IP address",
            "address = \"2001:db8::1\", port = 443",
        ),
        (
            In::Address,
            "▶\"2001:db8::1\"",
            "2001:db8::1 is IPv6, and service \"web\" is IPv4",
            "ipip",
        ),
        (In::Address, "▶\"2001:db8::1%eth0\"", "is no IP address", "2001:db8::11"),
        (In::Address, "▶\"::\"", ":: is unspecified", "unicast"),
        (In::Address, "▶\"::1\"", "a loopback address", "unicast"),
        (In::Address, "▶\"ff02::1\"", "a multicast address", "unicast"),
        (In::Address, "▶\"fe80::1\"", "a link-local address, which no router", "unicast"),
        (In::Address, "▶\"::ffff:10.0.0.1\"", "an IPv4-mapped address", "write \"10.0.0.1\""),
        (In::Address, "▶\"0.0.0.0\"", "unspecified", "unicast"),
        (In::Address, "▶\"127.0.0.1\"", "a loopback address", "unicast"),
        (In::Address, "▶\"224.0.0.1\"", "a multicast address", "unicast"),
        (In::Address, "▶\"255.255.255.255\"", "broadcast", "unicast"),
        (In::Address, "▶[10, 0]", "expected a string, found an array", "an IP address"),
        (
            In::Node,
            ", port = ▶80",
            "80 is not the port of service \"web\", 443",
            "only forward = \"nat\"",
        ),
        (In::Node, ", number = ▶0", "0 is out of range", "from 1 to"),
        (In::Node, ", number = ▶4294967296", "out of range", "from 1 to 4294967295"),
        (In::Node, ", mac = ▶\"01:00:5e:00:00:01\"", "no station's", "not multicast"),
        (In::Node, ", ▶adress = \"x\"", "unknown field `adress`", "did you mean `address`?"),
        (In::Vip, "▶\"192.0.2.10\"", "has no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:\"", "has no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:0\"", "0 is no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:https\"", "https is no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:70000\"", "70000 is no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.256:443\"", "is no address and port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:+443\"", "+443 is no port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"2001:db8::1\"", "stands in brackets", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"2001:db8::1:80-90\"", "stands in brackets", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"2001:db8::1:*\"", "stands in brackets", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"[2001:db8::1]\"", "has no port", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"[2001:db8::1]:\"", "has no port", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"[2001:db8::g]:443\"", "is no address and port", "\"[2001:db8::1]:443\""),
        (In::Vip, "▶\"[192.0.2.10]:443\"", "is no address and port", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"192.0.2.10:0-10\"", "is no range of ports", "8000-8010"),
        (In::Vip, "▶\"192.0.2.10:1-65536\"", "is no range of ports", "8000-8010"),
        (In::Vip, "▶\"192.0.2.10:1-2-3\"", "is no range of ports", "8000-8010"),
        (In::Vip, "▶\"192.0.2.10:8000-\"", "is no range of ports", "8000-8010"),
        (In::Vip, "▶\"192.0.2.10:**\"", "** is no port", "192.0.2.10:*"),
        (In::Vip, "▶\"192.0.2.10:8010-8000\"", "is no range of ports", "\"192.0.2.10:443\""),
        (In::Vip, "▶\"[::]:443\"", ":: is unspecified", "unicast"),
        (In::Vip, "▶\"[::1]:443\"", "a loopback address", "unicast"),
        (In::Vip, "▶\"[ff0e::1]:443\"", "a multicast address", "unicast"),
        (In::Vip, "▶\"[fe80::1]:443\"", "a link-local address, which no router", "unicast"),
        (In::Vip, "▶\"[::ffff:192.0.2.1]:443\"", "an IPv4-mapped", "write \"192.0.2.1\""),
        (In::Vip, "▶\"240.0.0.1:443\"", "reserved", "unicast"),
        (In::Vip, "▶\"0.0.0.0:443\"", "unspecified", "unicast"),
        (In::Vip, "▶\"127.0.0.1:443\"", "a loopback address", "unicast"),
        (In::Vip, "▶\"239.1.2.3:443\"", "a multicast address", "unicast"),
        (In::Vip, "▶\"255.255.255.255:443\"", "broadcast", "unicast"),
        (In::Vip, "▶\"10.0.1.1:443\"", "also the address of a node", "no node's own"),
        (In::Masters, "▶[]", "a service needs at least one master", "masters = [\"A\"]"),
        (In::Masters, "[▶\"a\"]", "there is no cluster \"a\"", "did you mean \"A\"?"),
        (In::Masters, "[▶\"other\"]", "there is no cluster \"other\"", "add a [[cluster]]"),
        (In::Masters, "[▶3]", "expected the name of a cluster, found an integer", "\"A\" or {"),
        (In::Masters, "▶\"A\"", "expected a list, found a string", "masters = [ … ]"),
        (In::Masters, "[▶{ weight = 3 }]", "`cluster` is missing", "cluster = \"A\""),
        (
            In::Masters,
            "[{ cluster = \"A\", port = ▶80 }]",
            "80 is not the port of service",
            "leave it out",
        ),
        (In::Masters, "[{ cluster = \"A\", ▶wight = 80 }]", "unknown field `wight`", "`weight`"),
        (
            In::Masters,
            "▶[{ cluster = \"A\", weight = 0 }]",
            "all masters of service \"web\" have weight 0",
            "above 0",
        ),
        (
            In::Service,
            "protocol = ▶\"udp\"",
            "service \"web\" is by UDP, and nothing says how the nodes of cluster \"A\" are checked",
            "kind = \"udp\"",
        ),
        (
            In::Service,
            "protocol = \"udp\"\nhealth = ▶{ interval = \"2s\" }",
            "service \"web\" is by UDP, and its health names no kind",
            "kind = \"udp\"",
        ),
        (In::Service, "protocol = ▶\"sctp\"", "unknown value \"sctp\"", "\"tcp\""),
        (In::Service, "backup = ▶\"one-stanby\"", "unknown value", "did you mean \"one-standby\""),
        (In::Service, "balance = ▶\"even\"", "unknown value", "\"weight\", \"equal\""),
        (In::Service, "fallback = ▶\"master\"", "unknown value", "did you mean \"masters\""),
        (In::Service, "panic = ▶\"none\"", "unknown value", "\"alive\", \"drop\", \"all\""),
        (In::Service, "affinity = ▶\"sorce\"", "unknown value", "did you mean \"source\"?"),
        (In::Service, "udp = ▶\"sticky\"", "service \"web\" is by TCP", "add protocol = \"udp\""),
        (In::Service, "protocol = \"tcp\"\nudp = ▶\"quic\"", "is by TCP", "leave it out"),
        // Of an unknown protocol nobody knows.
        (In::Service, "protocol = ▶\"upd\"\nudp = \"quic\"", "unknown value", "\"udp\""),
        (In::Service, "udp = ▶\"stiky\"", "unknown value", "\"rehash\", \"sticky\", \"quic\""),
        (
            In::Service,
            "▶drain = \"5m\"",
            "`drain` is said of clusters",
            "move it to the [[cluster]]",
        ),
        (In::Service, "[▶service.extra]", "unknown field", "the fields here are"),
    ];
    for (place, snippet, message, help) in cases {
        // The mark of a nested table's header stands before the key in the brackets.
        let snippet = snippet.replace("[▶service.extra]", "[service.▶extra]");
        expect(&file(place, &snippet), &[(message, help)]);
    }
}

#[test]
fn names() {
    for bad in ["", "a/b", "a b", "ä", "a\\n", &"x".repeat(65)] {
        let text = format!(
            "[[cluster]]\nname = ▶\"{bad}\"\nnodes = [{{ name = ▶\"{bad}\", address = \"10.0.0.1\" }}]\n\
             [[service]]\nname = ▶\"{bad}\"\naddress = \"192.0.2.1:1\"\nmasters = [\"{bad}\"]\n"
        );
        expect(&text, &[("name: ", "1 to 64 letters"); 3]);
    }
    for bad in ["", "a/b", "eth 0", "..", "averylonginterfacename", "eth0:1"] {
        let text = file(&In::Lb, "").replace("\"eth0\"", &format!("▶\"{bad}\""));
        expect(&text, &[("is no name of an interface", "1 to 15 bytes")]);
    }
}

#[test]
fn what_is_missing() {
    expect("▶", &[("`service` is missing", "add a [[service]]")]);
    expect("▶[lb]", &[("`service` is missing", "add a [[service]]")]);
    let text = file(&In::Lb, "").replace("[[interface]]\nname = \"eth0\"", "▶[[interface]]");
    expect(&text, &[("`name` is missing", "name = \"eth0\"")]);
    let text = file(&In::Lb, "").replace("[{ name = \"a1\", address = \"10.0.1.1\"", "[▶{");
    let two = |text: &str| {
        let errors = config::parse(&text.replace('▶', ""), "lb.toml").err();
        errors.map_or_else(String::new, |errors| errors.to_string())
    };
    let found = two(&text);
    assert!(
        found.contains("`name` is missing") && found.contains("`address` is missing"),
        "{found}"
    );
}
