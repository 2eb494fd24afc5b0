//! `health` that will not do: its values, its fields, and what they say together. The mark `▶` is
//! where it is said.

use lb_user::config;

use crate::{expect::expect, health::file};

#[test]
fn values_that_will_not_do() {
    let cases = [
        ("kind = ▶\"htp\"", "unknown value \"htp\"", "did you mean \"http\"?"),
        ("kind = ▶3", "expected a string", "possible: \"tcp\", \"http\", \"https\", \"grpc\""),
        // Of an unknown kind nobody knows the fields.
        ("kind = ▶\"x\", path = 3, ▶zz = 3", "unknown value", "\"survey\""),
        ("fast_interval = ▶\"9ms\"", "out of range", "from \"10ms\""),
        ("fast_interval = ▶\"2s\"", "fast_interval: longer than the interval, 1s", "at most"),
        (
            "interval = \"100ms\", timeout = ▶\"101ms\"",
            "longer than the interval, 100ms",
            "at most",
        ),
        ("via = ▶\"tunnel\"", "unknown value", "\"direct\", \"vip\""),
        ("source = ▶\"10.0.0.256\"", "no IP address and no interface", "`ip link`"),
        ("source = ▶\"lb.example\"", "no IP address", "`getent ahosts lb.example` shows"),
        ("source = ▶\"load-balancer-1.example\"", "no IP address", "Names are not resolved"),
        ("source = ▶\"eth0:1\"", "no IP address and no interface", "`ip link`"),
        ("source = ▶\"0.0.0.0\"", "unspecified", "unicast"),
        ("source = ▶\"ff02::1\"", "a multicast address", "unicast"),
        ("source = ▶\"::1\"", "a loopback address", "unicast"),
        ("source = ▶\"2001:db8::1\"", "2001:db8::1 cannot reach 10.0.1.1", "an IPv4 address"),
        ("source = ▶\"10.0.1.1\"", "is the address of a node", "of this host"),
        ("send = ▶\"\"", "send: empty", "leave it out"),
        ("expect = ▶[]", "expect: empty", "leave it out"),
        ("expect = ▶[256]", "a byte: 256 is out of range", "a list of bytes"),
        ("expect = ▶[\"a\"]", "a byte: expected an integer", "a list of bytes"),
        ("expect = ▶5", "expected text or a list of bytes, found an integer", "PING"),
        ("kind = \"http\", method = ▶\"GE T\"", "\"GE T\" is no method", "\"GET\""),
        ("kind = \"http\", method = ▶\"CONNECT\"", "asks for a tunnel", "\"GET\""),
        ("kind = \"http\", method = \"HEAD\", body = ▶\"x\"", "HEAD has none", "GET"),
        ("kind = \"http\", path = ▶\"health\"", "\"health\" is no path", "begins with \"/\""),
        ("kind = \"http\", path = ▶\"/a b\"", "is no path", "%20"),
        ("kind = \"http\", path = ▶\"/a#b\"", "is no path", "fragments"),
        ("kind = \"http\", path = ▶\"/a\\r\\nX: y\"", "is no path", "%20"),
        ("kind = \"http\", path = ▶\"/ä\"", "is no path", "not ASCII"),
        ("kind = \"http\", host = ▶\"a b\"", "\"a b\" is no host", "a DNS name or"),
        ("kind = \"http\", host = ▶\"http://a/\"", "is no host", "a DNS name or"),
        ("kind = \"http\", host = ▶\"u@a\"", "is no host", "a DNS name or"),
        ("kind = \"http\", host = ▶\"2001:db8::1\"", "is no host", "[2001:db8::1]"),
        ("kind = \"http\", host = ▶\"a:\"", "is no host", "a port if need be"),
        ("kind = \"http\", host = ▶\"a:0\"", "is no host", "a port if need be"),
        ("kind = \"http\", host = ▶\"a:+8\"", "is no host", "a port if need be"),
        ("kind = \"http\", status = ▶[]", "no status would be good", "200-399"),
        ("kind = \"http\", status = ▶99", "99 is out of range", "from 100 to 599"),
        ("kind = \"http\", status = [200, ▶600]", "600 is out of range", "from 100 to 599"),
        ("kind = \"http\", status = ▶\"399-200\"", "will not do", "\"200-399\""),
        ("kind = \"http\", status = [▶\"2xx\", ▶true]", "\"2xx\" will not do", "\"200-399\""),
        ("kind = \"http\", body = ▶\"\"", "body: empty", "leave it out"),
        ("kind = \"https\", verify = ▶\"no\"", "expected a boolean", "true or false"),
        ("kind = \"https\", ca = ▶\"missing.pem\"", "cannot read missing.pem: No such file", "PEM"),
        ("kind = \"https\", ca = ▶\"/dev/zero\"", "cannot read /dev/zero: not a file", "PEM"),
        ("kind = \"https\", ca = ▶\"\"", "ca: empty", "PEM"),
        ("kind = \"grpc\", tls = ▶1, verify = true", "expected a boolean", "true or false"),
        ("kind = \"grpc\", tls = false, ▶verify = true", "about TLS", "add tls = true"),
        ("kind = \"grpc\", ▶ca = \"x\"", "about TLS", "add tls = true"),
        ("kind = \"dns\", query = ▶\"\"", "is no DNS name", "\"www.example.com\""),
        ("kind = \"dns\", query = ▶\"a b\"", "is no DNS name", "in ASCII"),
        ("kind = \"dns\", query = ▶\"bücher.example\"", "is no DNS name", "xn--"),
        ("kind = \"dns\", query = ▶\"a..b\"", "is no DNS name", "in ASCII"),
        ("kind = \"dns\", query = \"a\", type = ▶\"ANY\"", "unknown value", "\"AAAA\", \"CNAME\""),
        ("kind = \"dns\", query = \"a\", expect = ▶\"::1\"", "no IPv4 address", "192.0.2.1"),
        (
            "kind = \"dns\", query = \"a\", type = \"AAAA\", expect = ▶\"192.0.2.1\"",
            "no IPv6 address",
            "2001:db8::1",
        ),
        ("kind = \"dns\", query = \"a\", type = \"TXT\", expect = ▶\"\"", "empty", "leave it out"),
        ("kind = \"survey\", send = ▶\"PING\"", "unknown value \"PING\"", "a survey's question"),
        ("kind = \"survey\", send = ▶\"brodcast\"", "unknown", "\"broadcast\" (one to"),
        ("kind = \"survey\", group = ▶\"10.0.1.255\"", "to each node by itself", "broadcast"),
    ];
    for (health, message, help) in cases {
        let more = match health {
            _ if health.contains("▶zz") => vec![("unknown field `zz`", "the fields here are")],
            _ if health.contains("▶true") => vec![("expected a status, found a boolean", "100")],
            _ => vec![],
        };
        expect(&file(health), &[&[(message, help)][..], &more].concat());
    }
    let missing = |health: &str| file(health).replace("health = {", "health = ▶{");
    expect(&missing("kind = \"dns\""), &[("`query` is missing", "www.example.com")]);
    let broadcast = "kind = \"survey\", send = \"broadcast\"";
    expect(&missing(broadcast), &[("`group` is missing", "255.255.255.255, or a multicast")]);
    for (group, message) in [
        ("10.0.1.254", "10.0.1.254 is the address of one host"),
        ("127.0.0.255", "the address of one host"),
        ("2001:db8::1", "the address of one host"),
        ("ff02::1", "ff02::1 cannot reach 10.0.1.1"),
        ("nodes.example", "no IP address"),
    ] {
        let more = format!("{broadcast}, group = ▶\"{group}\"");
        let help = if group == "ff02::1" { "an IPv4 address" } else { "the broadcast address" };
        expect(&file(&more), &[(message, help)]);
    }
}

#[test]
fn fields_belong_to_kinds() {
    let cases = [
        (
            "▶path = \"/\"",
            "`path` belongs to kind = \"http\" or \"https\", not to \"tcp\"",
            "add kind",
        ),
        (
            "▶path = 3, kind = \"tcp\"",
            "`path` belongs to kind = \"http\"",
            "\"tcp\" has port, send",
        ),
        (
            "▶query = \"a\", kind = \"udp\"",
            "`query` belongs to kind = \"dns\",",
            "port, send, expect",
        ),
        ("▶ca = \"x\", kind = \"http\"", "`ca` belongs to kind = \"https\" or \"grpc\"", "status"),
        (
            "▶send = \"x\", kind = \"dns\", query = \"a\"",
            "\"tcp\", \"udp\" or \"survey\", not to \"dns\"",
            "query",
        ),
        ("▶port = 1, kind = \"icmp\"", "`port` belongs to", "\"icmp\" has no fields of its own"),
        ("▶group = 1, kind = \"tcp\"", "belongs to kind = \"survey\"", "\"tcp\" has"),
        ("▶pth = \"/\", kind = \"http\"", "unknown field `pth`", "did you mean `path`?"),
        ("▶zz = 1, kind = \"icmp\"", "unknown field `zz`", "kind, interval, fast_interval"),
    ];
    for (health, message, help) in cases {
        expect(&file(health), &[(message, help)]);
    }
}

#[test]
fn many_errors_at_once() {
    let text = r#"
[lb]
freeze = ▶"2h"
survey_key = ▶"x"
[[cluster]]
name = "A"
min_services = ▶3
health = { ▶path = "/", interval = "100ms", timeout = ▶"1s", ▶intervall = 1, source = ▶"a.example" }
nodes = [{ name = "a1", address = ▶"a1.example" }]
[[cluster]]
name = "B"
nodes = [{ name = "b1", address = "10.0.2.1" }]
[cluster.health]
kind = "http"
status = ["200", ▶"20"]
▶query = "a"
via = "vip"
port = ▶80
[[service]]
name = "web"
address = "192.0.2.10:443"
backup = "none"
masters = ["A", "B"]
[[service]]
name = "mail"
address = "192.0.2.10:25"
masters = ["A"]
[service.health]
kind = "survey"
send = ▶"multicast"
via = ▶"vip"
"#;
    let expected = [
        ("freeze: \"2h\" is out of range", "to \"1h\""),
        ("survey_key: not 64 hex digits (1 characters)", "openssl rand -hex 32"),
        ("min_services: 3 is more than the services of cluster \"A\", 2", "0 to 2"),
        ("`path` belongs to", "add kind = \"http\""),
        ("timeout: longer than the interval, 100ms", "at most the interval"),
        ("unknown field `intervall`", "did you mean `interval`?"),
        ("source: \"a.example\" is no", "getent ahosts a.example"),
        ("address: \"a1.example\" is no IP address", "getent ahosts a1.example"),
        ("status: \"20\" will not do", "from 100 to 599"),
        ("`query` belongs to kind = \"dns\", not to \"http\"", "method, path"),
        ("port: 80 is not the port of service \"web\", 443", "its own port"),
        ("send: unknown value \"multicast\"", "\"broadcast\""),
        ("via: \"vip\" does not go with kind = \"survey\"", "tcp, http, https"),
    ];
    expect(text, &expected);
}

#[test]
fn a_check_of_the_vip_asks_the_port_of_the_service() {
    for kind in ["tcp", "http", "https", "grpc", "udp", "dns\", query = \"a"] {
        let text = file(&format!("kind = \"{kind}\", via = \"vip\", port = ▶443"));
        expect(&text, &[("443 is not the port of service \"alt\", 8443", "its own port")]);
        // It need not fit a service that has a check of its own.
        let text = text.replace('▶', "") + "health = { via = \"vip\", port = 8443 }\n";
        assert!(config::parse(&text, "lb.toml").is_ok(), "{kind}");
    }
    let text = file("via = \"vip\", source = ▶\"192.0.2.10\"");
    expect(&text, &[("192.0.2.10 is a VIP", "no service's")]);
    for kind in ["icmp", "survey"] {
        let text = file(&format!("via = ▶\"vip\", kind = \"{kind}\""));
        expect(&text, &[(&format!("does not go with kind = \"{kind}\""), "leave it out")]);
    }
}
