//! `health`: what is accepted, what becomes of it, and what it needs beside it.

use std::{collections::BTreeSet, error::Error, fs, time::Duration};

use lb_user::config::{self, *};
use proptest::prelude::*;

use crate::{
    expect::expect,
    good::{EXAMPLES, accept},
};

const KEY: &str = "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100";

/// A file with a cluster whose health has these fields, and a second service of the cluster.
pub(crate) fn file(health: &str) -> String {
    format!(
        "[lb]\nsurvey_key = \"{KEY}\"\n\
         [[cluster]]\nname = \"A\"\nhealth = {{ {health} }}\n\
         nodes = [{{ name = \"a1\", address = \"10.0.1.1\" }}]\n\
         [[service]]\nname = \"web\"\naddress = \"192.0.2.10:443\"\nmasters = [\"A\"]\n\
         [[service]]\nname = \"alt\"\naddress = \"192.0.2.10:8443\"\nmasters = [\"A\"]\n"
    )
}

fn read(health: &str) -> Health {
    accept(&file(health)).config.clusters.remove(0).health
}

fn exchange(send: Option<&[u8]>, expect: Option<&[u8]>) -> Exchange {
    Exchange { send: send.map(Into::into), expect: expect.map(Into::into) }
}

#[test]
fn kinds_and_their_defaults() {
    let http = |tls| Http {
        tls,
        method: "GET".into(),
        path: "/".into(),
        host: None,
        status: vec![(200, 399)],
        body: None,
    };
    let tls = || Tls { verify: true, ca: None };
    let record = DnsRecord::A;
    let cases = [
        ("", Probe::Tcp(Exchange::default())),
        ("kind = \"tcp\"", Probe::Tcp(Exchange::default())),
        ("kind = \"http\"", Probe::Http(http(None))),
        ("kind = \"https\"", Probe::Http(http(Some(tls())))),
        ("kind = \"grpc\"", Probe::Grpc(Grpc { service: String::new(), host: None, tls: None })),
        (
            "kind = \"grpc\", tls = true",
            Probe::Grpc(Grpc { service: String::new(), host: None, tls: Some(tls()) }),
        ),
        ("kind = \"udp\"", Probe::Udp(Exchange::default())),
        (
            "kind = \"dns\", query = \"a.example\"",
            Probe::Dns(Dns { query: "a.example".into(), record, expect: None }),
        ),
        ("kind = \"icmp\"", Probe::Icmp),
        ("kind = \"survey\"", Probe::Survey(Survey { send: SurveySend::Unicast })),
    ];
    for (text, probe) in cases {
        assert_eq!(read(text), Health { probe, ..Health::default() }, "{text}");
    }
    let Config { lb, clusters, services, .. } = accept(EXAMPLES[0].1).config;
    assert_eq!((lb.freeze, lb.survey_key), (Duration::from_secs(10), None));
    assert_eq!((clusters[0].min_services, services[0].health.as_ref()), (0, None));
    assert_eq!(clusters[0].health, Health::default());
}

#[test]
fn values_as_written() {
    // The kind may stand behind what belongs to it.
    let found = read(
        "status = [\"300-302\", 204, 204], path = \"/a?b=1\", host = \"[2001:db8::1]:8443\", \
         method = \"POST\", body = \"ok\", verify = false, kind = \"https\"",
    );
    let expected = Http {
        tls: Some(Tls { verify: false, ca: None }),
        method: "POST".into(),
        path: "/a?b=1".into(),
        host: Some("[2001:db8::1]:8443".into()),
        status: vec![(204, 204), (300, 302)],
        body: Some("ok".into()),
    };
    assert_eq!(found.probe, Probe::Http(expected));
    let found = read("send = \"PING\\r\\n\", expect = [0, 255, 0x7f]");
    assert_eq!(found.probe, Probe::Tcp(exchange(Some(b"PING\r\n"), Some(&[0, 255, 127]))));
    let found = read(
        "kind = \"udp\", send = [1], interval = \"200ms\", fast_interval = \"10ms\", port = 53, \
         timeout = \"200ms\", fall = 1, rise = 9, source = \"eth0.100\"",
    );
    let expected = Health {
        probe: Probe::Udp(exchange(Some(&[1]), None)),
        port: Some(53),
        interval: Duration::from_millis(200),
        fast_interval: Duration::from_millis(10),
        timeout: Duration::from_millis(200),
        fall: 1,
        rise: 9,
        source: Some(Source::Interface("eth0.100".into())),
        via: Via::Direct,
    };
    assert_eq!(found, expected);
    // What is left out gives way to what is there.
    let found = read("interval = \"50ms\", source = \"10.0.9.1\"");
    let times = [found.interval, found.fast_interval, found.timeout];
    assert_eq!(times, [Duration::from_millis(50); 3]);
    assert_eq!(found.source, Some(Source::Address([10, 0, 9, 1].into())));
    for (group, address) in [("10.0.1.255", [10, 0, 1, 255]), ("239.1.2.3", [239, 1, 2, 3])] {
        let found = read(&format!("kind = \"survey\", send = \"broadcast\", group = \"{group}\""));
        let send = SurveySend::Broadcast(address.into());
        assert_eq!(found.probe, Probe::Survey(Survey { send }));
    }
    let found =
        read("kind = \"dns\", query = \"_a._tcp.b.\", type = \"AAAA\", expect = \"2001:DB8::0:1\"");
    let Probe::Dns(dns) = found.probe else { panic!("dns") };
    assert_eq!((dns.record, dns.expect.as_deref()), (DnsRecord::Aaaa, Some("2001:db8::1")));
    let vip = read("kind = \"grpc\", service = \"a.B\", host = \"b.example\", via = \"vip\"");
    assert_eq!((vip.via, vip.port), (Via::Vip, None));
}

#[test]
fn what_is_of_the_whole() {
    let text = file("kind = \"survey\"")
        .replace("[lb]", "[lb]\nfreeze = \"0s\"")
        .replace("name = \"A\"", "name = \"A\"\nmin_services = 2");
    let text = text + "health = { kind = \"icmp\" }\n";
    let Config { lb, clusters, services, .. } = accept(&text).config;
    let key = lb.survey_key.map(|key| (key.0[0], key.0[1], key.0[31]));
    assert_eq!((lb.freeze, key), (Duration::ZERO, Some((0x00, 0x11, 0x00))));
    assert_eq!(clusters[0].min_services, 2);
    // It is the last one in the file, and the first one by name.
    let probes: Vec<_> = services.iter().map(|s| s.health.as_ref().map(|h| &h.probe)).collect();
    assert_eq!(probes, [Some(&Probe::Icmp), None]);
}

#[test]
fn a_survey_needs_a_key_that_nobody_sees() {
    let line = format!("survey_key = \"{KEY}\"\n");
    let text = file("kind = \"survey\"").replace(&line, "").replace("health = {", "health = ▶{");
    let key = ("a survey needs a key", "[lb] survey_key = \"…\", 64 hex digits from `openssl");
    expect(&text, &[key]);
    // However many there are.
    expect(&(text.clone() + "health = { kind = \"survey\" }\n"), &[key]);
    let of_service = text.replace("health = ▶{ kind = \"survey\" }\n", "");
    expect(&(of_service + "health = ▶{ kind = \"survey\" }\n"), &[key]);

    let bad = file("kind = \"survey\", zz = 1").replace("[lb]", "[lb]\nhash = 3");
    let Err(errors) = config::parse(&bad, "lb.toml") else { panic!("accepted") };
    assert_eq!(errors.list().len(), 2);
    assert!(!errors.render(false).contains(KEY) && !errors.to_string().contains(KEY));
    let short = bad.replace(KEY, &KEY[1..]);
    let Err(errors) = config::parse(&short, "lb.toml") else { panic!("accepted") };
    assert!(errors.list().iter().all(|(.., message)| !message.contains(&KEY[1..])));
    assert!(!format!("{:?}", accept(&file("")).config.lb).contains("0x11, 0x22"));

    let [warning] = &accept(&file("")).warnings[1..] else { panic!("two warnings") };
    assert!(warning.message().contains("survey_key: without effect"), "{}", warning.message());
    assert_eq!((warning.line(), warning.help().is_some()), (2, true));
    assert_eq!(accept(&file("kind = \"survey\"")).warnings.len(), 1);
}

#[test]
fn a_udp_check_that_takes_silence_for_life_is_warned_of() {
    let silent = "health = { kind = \"udp\", port = 53, send = \"?\" }";
    let text = file("kind = \"udp\", expect = \"x\"");
    let warnings = |text: &str| -> Vec<_> {
        let found = accept(text).warnings;
        let found = found.iter().filter(|warning| warning.message().starts_with("silence"));
        found.map(|warning| (warning.line(), warning.help().is_some())).collect()
    };
    assert_eq!(warnings(&text), []);
    assert_eq!(warnings(&file("")), []);
    assert_eq!(warnings(&file("kind = \"udp\"")), [(5, true)]);
    assert_eq!(warnings(&format!("{text}{silent}\n")), [(15, true)]);
}

#[test]
fn certificates_of_authorities() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lb.toml");
    let load = |ca: &str| {
        fs::write(&path, file(&format!("kind = \"https\", {ca}")))?;
        Ok::<_, std::io::Error>(config::load(&path))
    };
    let pair = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()])?;
    let (good, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    fs::write(folder.path().join("ca.pem"), format!("# ours\n{key}{good}"))?;
    // Beside the configuration, wherever the program was started; or anywhere.
    let absolute = format!("ca = \"{}\"", folder.path().join("ca.pem").display());
    for ca in ["ca = \"ca.pem\"", &absolute] {
        let checked = load(ca)?.map_err(|errors| errors.to_string())?;
        let Probe::Http(http) = &checked.config.clusters[0].health.probe else { panic!("http") };
        let read = http.tls.as_ref().and_then(|tls| tls.ca.as_deref()).ok_or("no ca")?;
        assert!(String::from_utf8_lossy(read).contains(&good));
    }
    let useless = load("ca = \"ca.pem\", verify = false")?.map_err(|errors| errors.to_string())?;
    let warnings: Vec<_> = useless.warnings.iter().map(|w| (w.line(), w.message())).collect();
    assert!(warnings.contains(&(5, "ca: without effect")), "{warnings:?}");

    let body: String = good.lines().filter(|line| !line.starts_with("--")).collect();
    let wrong = body.replace('M', "N");
    let long = "#".repeat((4 << 20) + 1);
    for (name, text, message) in [
        ("empty", "", "holds no certificate"),
        ("key", &*key, "holds no certificate"),
        ("der", &body, "holds no certificate"),
        ("cut", &good[..good.len() - 20], "is no good PEM"),
        (
            "noise",
            &format!("-----BEGIN CERTIFICATE-----\n{wrong}\n-----END CERTIFICATE-----\n"),
            "a certificate: ",
        ),
        ("long", &long, "longer than 4194304 bytes"),
    ] {
        fs::write(folder.path().join(name), text)?;
        let errors = load(&format!("ca = \"{name}\""))?.err().ok_or("accepted")?;
        let [(line, column, found)] = errors.list()[..] else { panic!("{errors}") };
        assert_eq!((line, column), (5, 33), "{name}");
        assert!(found.contains(message) && found.contains(name), "{name}: {found}");
    }
    Ok(())
}

#[test]
fn the_example_shows_every_kind() {
    let Some((_, text)) = EXAMPLES.iter().find(|(name, _)| *name == "health") else {
        panic!("an example")
    };
    let Config { clusters, services, .. } = accept(text).config;
    let own = services.iter().filter_map(|service| service.health.as_ref());
    let all: Vec<_> = clusters.iter().map(|cluster| &cluster.health).chain(own).collect();
    let kinds: BTreeSet<_> = all.iter().map(|health| health.probe.kind()).collect();
    let every = ["dns", "grpc", "http", "https", "icmp", "survey", "tcp", "udp"];
    assert!(kinds.iter().eq(&every), "{kinds:?}");
    assert!(all.iter().any(|health| health.via == Via::Vip));
    assert!(all.iter().any(|health| health.fast_interval < health.interval));
    assert!(clusters.iter().any(|cluster| cluster.min_services > 0));
}

/// A value that some field might have, mostly a wrong one for it.
fn any_value() -> impl Strategy<Value = String> {
    let words = [
        "tcp",
        "http",
        "https",
        "grpc",
        "udp",
        "dns",
        "icmp",
        "survey",
        "broadcast",
        "unicast",
        "vip",
        "direct",
        "1s",
        "50ms",
        "200-399",
        "/",
        "a.example",
        "10.0.1.255",
        "239.0.0.1",
        "eth0",
        "GET",
        "AAAA",
        ".",
        "",
        "::1",
        "[::1]:8",
        "\\u0000",
        "-",
        "/dev/null",
    ];
    prop_oneof![
        prop::sample::select(words.to_vec()).prop_map(|word| format!("\"{word}\"")),
        "[ -~]{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', ""))),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..600u32).prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        prop::collection::vec(0..300u32, 0..4).prop_map(|list| format!("{list:?}")),
        Just("[\"200\", \"300-399\", 500]".to_owned()),
        Just("{ a = 1 }".to_owned()),
    ]
}

const FIELDS: [&str; 24] = [
    "kind",
    "port",
    "interval",
    "timeout",
    "fall",
    "rise",
    "fast_interval",
    "source",
    "via",
    "send",
    "expect",
    "method",
    "path",
    "host",
    "status",
    "body",
    "verify",
    "ca",
    "service",
    "tls",
    "query",
    "type",
    "group",
    "x",
];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever the fields say: no panic, a place for each error, and what is taken keeps to the
    /// rules that others rely on.
    #[test]
    fn any_health_is_taken_or_refused(
        kind in prop::sample::select(vec!["tcp", "http", "https", "grpc", "udp", "dns", "icmp", "survey"]),
        fields in prop::collection::btree_map(prop::sample::select(&FIELDS[1..]), any_value(), 0..4),
        other in prop::option::of(any_value()),
    ) {
        let kind = other.unwrap_or_else(|| format!("\"{kind}\""));
        let fields = fields.iter().map(|(field, value)| format!("{field} = {value}, "));
        let text = file(&format!("{}kind = {kind}", fields.collect::<String>()));
        match config::parse(&text, "lb.toml") {
            Err(errors) => {
                prop_assert!(errors.list().iter().all(|(line, column, _)| *line > 0 && *column > 0));
                prop_assert!(!errors.render(false).is_empty());
            }
            Ok(checked) => {
                let health = &checked.config.clusters[0].health;
                prop_assert!(health.timeout <= health.interval);
                prop_assert!(health.fast_interval <= health.interval);
                prop_assert!(!health.fast_interval.is_zero() && health.fall > 0 && health.rise > 0);
                prop_assert_eq!(&format!("\"{}\"", health.probe.kind()), &kind);
            }
        }
    }
}

#[test]
fn a_udp_service_is_checked_as_its_cluster_or_itself_says() {
    let text = |cluster: &str, service: &str| {
        format!(
            "[[cluster]]\nname = \"A\"\nnodes = [{{ name = \"n\", address = \"10.0.0.1\" }}]\n{cluster}\n\
             [[service]]\nname = \"dns\"\naddress = \"192.0.2.10:53\"\nmasters = [\"A\"]\n{service}\n\
             protocol = \"udp\"\n"
        )
    };
    let health = "health = { kind = \"dns\", query = \"example.org\" }";
    for (cluster, service) in [(health, ""), ("", health)] {
        let config = accept(&text(cluster, service)).config;
        assert_eq!(config.services[0].protocol, Protocol::Udp);
    }
}
