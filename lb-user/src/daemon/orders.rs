//! What is ordered of a node or a cluster, and whether that is something new.

use crate::decide::{Admin, Event, View};

/// What an order is about.
enum Whom {
    /// Position of the cluster.
    Cluster(usize),
    /// Position of the node, and of its cluster.
    Node(usize, usize),
}

/// The event that brings an order about, or why there is nothing to do. `whom`: `CLUSTER` or
/// `CLUSTER/NODE`.
pub(super) fn order(view: &View<'_>, whom: &str, admin: Admin) -> Result<Event, String> {
    let admins = view.admins;
    match find(view, whom)? {
        Whom::Cluster(cluster) => {
            let mut nodes = view.model.nodes_of(cluster);
            let is = admins.cluster(cluster).admin;
            let mut some = || nodes.any(|node| admins.own(node).admin != Admin::InService);
            leaves(whom, view.model.config.clusters[cluster].leaving, is, admin)?;
            if is == admin && (admin != Admin::InService || !some()) {
                return Err(format!("{whom} is {} already", word(admin)));
            }
            Ok(Event::AdministerCluster { cluster, admin })
        }
        Whom::Node(node, cluster) => {
            let (is, whole) = (admins.node(view.model, node).admin, admins.cluster(cluster).admin);
            // The stronger one would count on.
            if whole > admin {
                let (is, name) = (word(whole), &view.model.config.clusters[cluster].name);
                return Err(format!("{whom} is {is} with all of its cluster: name {name} instead"));
            }
            leaves(whom, view.model.node(node).leaving, is, admin)?;
            if is == admin {
                return Err(format!("{whom} is {} already", word(admin)));
            }
            let node = view.model.ids.node(node).ok_or_else(|| format!("{whom} has no id"))?;
            Ok(Event::Administer { node, admin })
        }
    }
}

/// Who is leaving gets no new flows, whatever is ordered.
fn leaves(whom: &str, leaving: bool, is: Admin, admin: Admin) -> Result<(), String> {
    match (leaving, admin, is) {
        (true, Admin::InService, _) => {
            Err(format!("{whom} is leaving: it serves again once the file names it, and a reload"))
        }
        (true, Admin::Drained, Admin::InService) => {
            Err(format!("{whom} is leaving: it is drained already"))
        }
        _ => Ok(()),
    }
}

/// What is said once an order is given. `in_force`: packets go by it already, and a daemon that starts
/// finds it in the maps.
pub(super) fn done(whom: &str, admin: Admin, in_force: bool) -> String {
    let when = if in_force { "" } else { " with the next plan, not yet" };
    let then = match admin {
        Admin::InService => "",
        Admin::Drained => ": no new flows; `understudy status` says when the old ones have ended",
        Admin::Maintenance => ": no new flows, no checks; at the drain limit what is left is cut",
    };
    format!("{whom} is {}{when}{then}", word(admin))
}

/// What is wanted of somebody, in a word or two.
pub(super) fn word(admin: Admin) -> &'static str {
    match admin {
        Admin::InService => "in service",
        Admin::Drained => "drained",
        Admin::Maintenance => "in maintenance",
    }
}

fn find(view: &View<'_>, whom: &str) -> Result<Whom, String> {
    let model = view.model;
    let (name, node) = match whom.split_once('/') {
        Some((cluster, node)) => (cluster, Some(node)),
        None => (whom, None),
    };
    let clusters = &model.config.clusters;
    let Some(cluster) = clusters.iter().position(|cluster| cluster.name == name) else {
        let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        return Err(format!("there is no cluster {name:?}; there are {}", names.join(", ")));
    };
    let Some(node) = node else { return Ok(Whom::Cluster(cluster)) };
    // Of two of one name the one of the file stands before the one that is leaving.
    let found = model.nodes_of(cluster).find(|&at| model.node(at).name == node);
    let position = found.ok_or_else(|| {
        let names: Vec<&str> = clusters[cluster].nodes.iter().map(|n| n.name.as_str()).collect();
        format!("cluster {name} has no node {node:?}; it has {}", names.join(", "))
    })?;
    Ok(Whom::Node(position, cluster))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{config, decide::State};

    const SITE: &str = "\
[[cluster]]
name = \"A\"
nodes = [{ name = \"a1\", address = \"192.0.2.1\" }, { name = \"a2\", address = \"192.0.2.2\" }]
[[cluster]]
name = \"B\"
nodes = [{ name = \"b1\", address = \"192.0.2.3\" }]
[[service]]
name = \"web\"
address = \"198.51.100.1:80\"
protocol = \"tcp\"
backup = \"one-standby\"
masters = [\"A\"]
standbys = [\"B\"]
";

    /// Without `A/a2` and `B`.
    const LESS: &str = "\
[[cluster]]
name = \"A\"
nodes = [{ name = \"a1\", address = \"192.0.2.1\" }]
[[service]]
name = \"web\"
address = \"198.51.100.1:80\"
protocol = \"tcp\"
backup = \"none\"
masters = [\"A\"]
";

    #[test]
    fn orders_say_what_is_wrong_with_them() {
        use Admin::{Drained, InService, Maintenance};
        let checked = config::parse(SITE, "site.toml").expect("a good configuration");
        let mut state = State::new(Arc::new(checked.config), Duration::ZERO);
        let ok = "";
        // One after the other.
        let cases = [
            ("Q", Drained, "there is no cluster \"Q\"; there are A, B"),
            ("A/b1", Drained, "cluster A has no node \"b1\"; it has a1, a2"),
            ("A/", Drained, "cluster A has no node \"\"; it has a1, a2"),
            ("A/a1", InService, "A/a1 is in service already"),
            ("A", InService, "A is in service already"),
            ("A/a1", Drained, ok),
            ("A/a1", Drained, "A/a1 is drained already"),
            ("A/a1", Maintenance, ok),
            ("A/a1", Drained, ok),
            ("A", InService, ok),
            ("A/a1", InService, "A/a1 is in service already"),
            ("A/a1", Drained, ok),
            ("A", Maintenance, ok),
            ("A", Maintenance, "A is in maintenance already"),
            ("A/a2", InService, "A/a2 is in maintenance with all of its cluster: name A instead"),
            ("A/a2", Maintenance, "A/a2 is in maintenance already"),
            ("A/a2", Drained, "A/a2 is in maintenance with all of its cluster: name A instead"),
            ("A/a1", InService, "A/a1 is in maintenance with all of its cluster: name A instead"),
            ("A", Drained, ok),
            ("A/a1", InService, "A/a1 is drained with all of its cluster: name A instead"),
            ("A/a1", Drained, "A/a1 is drained already"),
            ("A/a2", Maintenance, ok),
            ("A/a2", Drained, ok),
            ("A/a2", Drained, "A/a2 is drained already"),
            ("A/a2", Maintenance, ok),
            ("A", InService, ok),
            ("A/a2", InService, "A/a2 is in service already"),
        ];
        for (step, (whom, admin, expected)) in cases.into_iter().enumerate() {
            let found = order(&state.view(), whom, admin);
            assert_eq!(found.as_ref().err().map_or(ok, String::as_str), expected, "step {step}");
            state.step(Duration::ZERO, &found.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn who_is_leaving_is_not_in_service() {
        use Admin::{Drained, InService, Maintenance};
        let parsed = |text: &str| config::parse(text, "site.toml").expect("a configuration").config;
        let state = State::new(Arc::new(parsed(SITE)), Duration::ZERO);
        let mut state = state.succeed(&parsed(LESS), Duration::ZERO).expect("ids");
        for whom in ["A/a2", "B"] {
            let cases = [
                (InService, "is leaving: it serves again once the file names it, and a reload"),
                (Drained, "is leaving: it is drained already"),
                (Maintenance, ""),
                (InService, "is leaving: it serves again once the file names it, and a reload"),
                (Drained, ""),
            ];
            for (admin, expected) in cases {
                let found = order(&state.view(), whom, admin);
                let said = found.as_ref().err().map_or("", String::as_str);
                assert_eq!(said.strip_prefix(&format!("{whom} ")).unwrap_or(said), expected);
                state.step(Duration::ZERO, &found.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_order_that_is_not_in_force_says_so() {
        let cases = [
            (Admin::Drained, true, "A is drained: no new flows; "),
            (Admin::Drained, false, "A is drained with the next plan, not yet: no new flows; "),
            (Admin::InService, false, "A is in service with the next plan, not yet"),
        ];
        for (admin, in_force, begin) in cases {
            let said = done("A", admin, in_force);
            assert!(said.starts_with(begin), "{said}");
        }
    }
}
