use super::*;

fn good(text: &str) -> AgentConfig {
    match parse(text, "agent.toml") {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            config
        }
        Err(errors) => panic!("{errors}"),
    }
}

fn target(config: &AgentConfig) -> &Target {
    match &config.servers[0].check {
        Check::Probe(target) => target,
        Check::Command(words) => panic!("{words:?}"),
    }
}

/// Each: a text, and the place and beginning of its errors.
fn bad(text: &str, expected: &[(usize, usize, &str)]) {
    let errors = parse(text, "agent.toml").expect_err(text);
    let list = errors.list();
    let fits = list.len() == expected.len()
        && list.iter().zip(expected).all(|(found, expected)| {
            (found.0, found.1) == (expected.0, expected.1) && found.2.starts_with(expected.2)
        });
    assert!(fits, "{text}\n{list:?}");
}

#[test]
fn one_line_is_enough() {
    let config = good(EXAMPLE);
    assert_eq!(config.drain_file, Path::new(DEFAULT_DRAIN_FILE));
    assert_eq!((config.group, &config.interface), (None, &None));
    let server = &config.servers[0];
    assert_eq!(server.server, Server { number: 7, port: 443 });
    assert_eq!((server.interval, server.timeout), (INTERVAL, TIMEOUT));
    let target = target(&config);
    assert_eq!(target.at, "127.0.0.1:443".parse().expect("an address"));
    assert_eq!(target.health.probe, Probe::Tcp(Exchange::default()));
    assert_eq!(target.health.timeout, TIMEOUT);
}

#[test]
fn kinds_with_fields() {
    let check = |check: &str| {
        good(&format!(
            "servers = [{{ number = 7, port = 443, timeout = \"1s\", check = {check} }}]"
        ))
    };
    let config = check("{ kind = \"http\", path = \"/up\", port = 8080, address = \"::1\" }");
    let Probe::Http(http) = &target(&config).health.probe else { panic!("{config:?}") };
    assert_eq!((http.path.as_str(), &http.status), ("/up", &vec![(200, 399)]));
    assert_eq!(target(&config).at, "[::1]:8080".parse().expect("an address"));
    assert_eq!(target(&config).health.timeout, Duration::from_secs(1));

    let config = check("{ kind = \"tcp\", expect = \"220 \" }");
    let Probe::Tcp(exchange) = &target(&config).health.probe else { panic!("{config:?}") };
    assert_eq!(exchange.expect.as_deref(), Some(&b"220 "[..]));

    let config = check("{ kind = \"udp\", send = \"?\", expect = [33] }");
    let Probe::Udp(exchange) = &target(&config).health.probe else { panic!("{config:?}") };
    assert_eq!(exchange.expect.as_deref(), Some(&b"!"[..]));

    let words = |config: AgentConfig| match &config.servers[0].check {
        Check::Command(words) => words.join(" "),
        Check::Probe(target) => panic!("{target:?}"),
    };
    let config = check("{ kind = \"exec\", command = [\"/bin/check\", \"-q\"] }");
    assert_eq!(words(config), "/bin/check -q");
    let config = check("{ kind = \"systemd\", unit = \"nginx.service\" }");
    assert_eq!(words(config), "systemctl is-active --quiet -- nginx.service");
}

#[test]
fn the_example_is_good() {
    good(include_str!("../../../contrib/agent.toml"));
}

#[test]
fn all_errors_with_their_places() {
    bad("", &[(1, 1, "`servers` is missing")]);
    bad("servers = []", &[(1, 11, "an agent needs at least one server")]);
    let server = |rest: &str| format!("servers = [\n{{ number = 7, port = 443, {rest} }}]");
    bad(&server(""), &[(2, 1, "`check` is missing")]);
    bad(&server("check = \"http\""), &[(2, 35, "check: this kind has fields")]);
    bad(&server("check = \"icmp\""), &[(2, 35, "check: unknown value \"icmp\"")]);
    bad(&server("check = 5"), &[(2, 35, "check: expected a string")]);
    bad(&server("check = {}"), &[(2, 35, "`kind` is missing")]);
    bad(&server("check = { kind = \"survey\" }"), &[(2, 44, "check: unknown value \"survey\"")]);
    bad(&server("check = { kind = \"udp\" }"), &[(2, 35, "`expect` is missing")]);
    bad(&server("check = { kind = \"udp\", expect = \"\" }"), &[(2, 60, "expect: empty")]);
    bad(&server("check = { kind = \"exec\" }"), &[(2, 35, "`command` is missing")]);
    bad(&server("check = { kind = \"exec\", command = [] }"), &[(2, 62, "command: there is none")]);
    bad(
        &server("check = { kind = \"systemd\", unit = \"a b\" }"),
        &[(2, 62, "unit: \"a b\" is no name of a unit")],
    );
    bad(
        &server("check = { kind = \"http\", fall = 3, address = \"here\" }"),
        &[(2, 52, "`fall` is for load balancers"), (2, 72, "address: \"here\" is no IP address")],
    );
    bad(
        &server("check = \"tcp\", interval = \"1ms\", colour = 1"),
        &[(2, 53, "interval: \"1ms\" is out of range"), (2, 60, "unknown field `colour`")],
    );
    bad(
        "servers = [{ number = 0, check = \"tcp\" }]\ngroup = \"10.0.0.1\"",
        &[
            (1, 12, "`port` is missing"),
            (1, 23, "number: 0 is out of range"),
            (2, 9, "group: 10.0.0.1 is no multicast group"),
        ],
    );
    let one = "{ number = 7, port = 443, check = \"tcp\" }";
    bad(
        &format!("interface = \"eth0\"\nservers = [{one},\n{one}]"),
        &[(1, 13, "interface: there is no group"), (3, 1, "server 7 with port 443 is there twice")],
    );
}

#[test]
fn a_key_is_64_hex_digits() {
    let digits = "00ff".repeat(16);
    let key = key(&format!(" {digits}\n")).expect("a key");
    assert_eq!(key.0[..4], [0, 255, 0, 255]);
    for bad in ["", "00ff", &"0g".repeat(32), &format!("{digits}0")] {
        let fault = super::key(bad).expect_err("no key");
        assert!(fault.contains("64 hex digits") && (bad.is_empty() || !fault.contains(bad)));
    }
}
