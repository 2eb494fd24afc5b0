//! Values that are good by themselves and do not go together. The mark `▶` is where it is said.

use crate::expect::expect;

/// Clusters A, B, S, T of one node each, whatever of them a test does not define itself.
fn clusters(names: &str) -> String {
    let cluster = |name: char| {
        let host = name as u32 - 'A' as u32 + 1;
        format!(
            "[[cluster]]\nname = \"{name}\"\nnodes = [{{ name = \"n\", address = \"10.0.{host}.1\" }}]\n"
        )
    };
    names.chars().map(cluster).collect()
}

fn service(lines: &str) -> String {
    format!("[[service]]\nname = \"web\"\naddress = \"192.0.2.10:443\"\n{lines}\n")
}

#[test]
fn a_mode_must_fit_its_clusters() {
    let cases = [
        // (backup, masters, standbys, message, help)
        ("one-standby", "A", "", "exactly 1 standby; here are 1 master and no standby", "\"none\""),
        ("one-standby", "AB", "ST", "here are 2 masters and 2 standbys", "\"multi-standby\""),
        ("multi-standby", "A", "ST", "at least 2 masters and 2 standbys", "no mode fits"),
        ("multi-standby", "AB", "S", "here are 2 masters and 1 standby", "\"one-standby\""),
        ("multi-master", "A", "", "at least 2 masters and no standby", "\"none\""),
        ("multi-master", "AB", "S", "here are 2 masters and 1 standby", "\"one-standby\""),
        ("none", "A", "S", "masters only, no standby", "\"one-standby\""),
    ];
    let list = |names: &str| {
        let names: Vec<_> = names.chars().map(|name| format!("\"{name}\"")).collect();
        format!("[{}]", names.join(", "))
    };
    for (backup, masters, standbys, message, help) in cases {
        let lines = format!(
            "backup = ▶\"{backup}\"\nmasters = {}\nstandbys = {}",
            list(masters),
            list(standbys)
        );
        let text = clusters(&format!("{masters}{standbys}")) + &service(&lines);
        expect(&text, &[(message, help)]);
    }
}

#[test]
fn a_mode_is_required_where_there_is_a_choice() {
    let two =
        clusters("AB") + &service("masters = [\"A\", \"B\"]").replace("[[service", "▶[[service");
    expect(&two, &[("2 masters and no standby, and `backup` is missing", "or backup = \"none\"")]);
    let lines = "masters = [\"A\"]\nstandbys = [\"S\"]";
    let one = clusters("AS") + &service(lines).replace("[[service", "▶[[service");
    expect(
        &one,
        &[("`backup` is missing", "with 1 master and 1 standby: backup = \"one-standby\"")],
    );
}

#[test]
fn members_of_a_service() {
    let twice = clusters("AB") + &service("backup = \"none\"\nmasters = [\"A\", ▶\"A\"]\n");
    expect(&twice, &[("\"A\" is twice in one list of service \"web\"", "name it once")]);
    let lines = "backup = \"one-standby\"\nmasters = [\"A\", \"B\"]\nstandbys = [▶\"A\"]";
    let both = clusters("AB") + &service(lines);
    expect(&both, &[("\"A\" is master and standby of service \"web\"", "not both")]);
    let zero = clusters("A").replace("nodes", "weight = 0\nnodes");
    let text = zero + &service("masters = ▶[\"A\"]");
    expect(&text, &[("all masters of service \"web\" have weight 0", "above 0")]);
}

#[test]
fn an_overridden_weight_counts() {
    let zero = clusters("A").replace("nodes", "weight = 0\nnodes");
    let text = zero + &service("masters = [{ cluster = \"A\", weight = 1 }]");
    assert!(lb_user::config::parse(&text, "lb.toml").is_ok());
}

#[test]
fn names_and_numbers_are_unique() {
    let text = clusters("AA").replacen("name = \"A\"", "name = «\"A\"", 2);
    let text = text.replacen('«', "", 1).replace('«', "▶").replacen("10.0.1.1", "10.0.9.1", 1);
    expect(&(text + &service("masters = [\"A\"]")), &[("two clusters are named \"A\"", "its own")]);

    let nodes = r#"
[[cluster]]
name = "A"
nodes = [
    { name = "a", address = "10.0.1.1", number = 7 },
    { name = ▶"a", address = "10.0.1.2", number = 8 },
    { name = "b", address = "10.0.1.3", number = ▶7 },
    { name = "c", address = ▶"10.0.1.1" },
    { name = "d", address = "10.0.1.4", port = 443 },
    { name = "e", address = ▶"10.0.1.4", port = 443 },
    { name = "f", address = ▶"10.0.1.4" },
]
"#;
    expect(
        &(nodes.to_owned() + &service("masters = [\"A\"]")),
        &[
            ("two nodes of cluster \"A\" are named \"a\"", "its own"),
            ("two nodes have the number 7", "a number of its own"),
            ("two nodes have the address 10.0.1.1", "its own address"),
            ("two nodes have the address 10.0.1.4:443", "its own address"),
            ("two nodes have the address 10.0.1.4", "its own address"),
        ],
    );
}

#[test]
fn a_node_is_in_one_cluster() {
    let shared = clusters("AB").replace("\"10.0.2.1\"", "▶\"10.0.1.1\"");
    let text = shared + &service("backup = \"none\"\nmasters = [\"A\", \"B\"]");
    expect(&text, &[("10.0.1.1 is also a node of cluster \"A\"", "give each its port")]);
    // One without a port gets the service's, whichever comes first.
    for (a, b) in [(", port = 443", ""), ("", ", port = 443")] {
        let shared = clusters("AB")
            .replace("\"10.0.1.1\"", &format!("\"10.0.1.1\"{a}"))
            .replace("\"10.0.2.1\"", &format!("▶\"10.0.1.1\"{b}"));
        let text = shared + &service("backup = \"none\"\nmasters = [\"A\", \"B\"]");
        expect(&text, &[("is also a node of cluster \"A\"", "give each its port")]);
    }
    // With ports of their own they are two servers on one host.
    let two = clusters("AB")
        .replace("\"10.0.2.1\"", "\"10.0.1.1\", port = 80")
        .replace("\"10.0.1.1\" }", "\"10.0.1.1\", port = 443 }");
    let web = service("masters = [\"A\"]");
    let plain = web.replace(":443", ":80").replace("web", "plain").replace("[\"A\"]", "[\"B\"]");
    let found = lb_user::config::parse(&format!("{two}{web}{plain}"), "lb.toml");
    assert!(found.is_ok(), "{}", found.err().map_or_else(String::new, |e| e.to_string()));
}

#[test]
fn services_do_not_overlap() {
    let text = clusters("A")
        + &service("masters = [\"A\"]")
        + &service("masters = [\"A\"]").replace("= \"", "= ▶\"");
    expect(
        &text,
        &[("two services are named \"web\"", "its own"), ("two services have the address", "own")],
    );
}

#[test]
fn thresholds_must_fit() {
    let cluster = |lines: &str| {
        let nodes: Vec<_> = (1..=4)
            .map(|n| format!("{{ name = \"n{n}\", address = \"10.0.1.{n}\", weight = {} }}", n % 4))
            .collect();
        let nodes = nodes.join(", ");
        format!("[[cluster]]\nname = \"A\"\n{lines}\nnodes = [{nodes}]\n")
            + &service("masters = [\"A\"]")
    };
    let cases = [
        ("min_survival_ratio = 0.5\nmin_survivors = ▶2", "two thresholds", "not both"),
        // The node of weight 0 does not count.
        ("min_survivors = ▶4", "4 is more than the 3 nodes that count", "from 1 to 3"),
        ("recover_at = ▶4", "recover_at: 4 is more than the 3 nodes", "from 1 to 3"),
        ("min_survivors = 3\nrecover_at = ▶2", "below the threshold", "here 3 of 3"),
        ("min_survivors = 3\nrecover_at = ▶0.5", "below the threshold", "here 3 of 3"),
        ("min_survival_ratio = 0.6\nrecover_at = ▶0.59", "below the threshold", "here 2 of 3"),
        ("min_survival_ratio = 0.6\nrecover_at = ▶1", "below the threshold", "here 2 of 3"),
    ];
    for (lines, message, help) in cases {
        expect(&cluster(lines), &[(message, help)]);
    }
    for good in
        ["min_survival_ratio = 0.6\nrecover_at = 0.60", "min_survivors = 2\nrecover_at = 0.6"]
    {
        assert!(lb_user::config::parse(&cluster(good), "lb.toml").is_ok(), "{good}");
    }
    let text = cluster("").replace("weight = 1", "weight = 0").replace("weight = 2", "weight = 0");
    let text = text.replace("weight = 3", "weight = 0").replacen("weight = 0", "weight = ▶0", 1);
    expect(&text, &[("all nodes of cluster \"A\" have weight 0", "above 0")]);
    expect(
        &("[[cluster]]\nname = \"A\"\nnodes = ▶[]\n".to_owned() + &service("masters = [\"A\"]")),
        &[("a cluster needs at least one node", "nodes = [{ name")],
    );
    for (nodes, message) in [
        ("▶3", "expected a list, found an integer"),
        ("[▶3]", "expected a table, found an integer"),
    ] {
        let text = format!("[[cluster]]\nname = \"A\"\nnodes = {nodes}\n");
        expect(&(text + &service("masters = [\"A\"]")), &[(message, "[[nodes]]")]);
    }
}

#[test]
fn interfaces_are_unique() {
    let text = "[[interface]]\nname = \"eth0\"\n[[interface]]\nname = ▶\"eth0\"\n".to_owned();
    let text = text + &clusters("A") + &service("masters = [\"A\"]");
    expect(&text, &[("two interfaces are named \"eth0\"", "its own")]);
}
