//! The text of a configuration over the lab's network: the lab's own, or one with other checks.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    daemon::Daemon,
    owner::Owner,
    topology::{CLUSTERS, INTERFACE, NodeIndex},
    variant::{Forward, Variant},
};

/// What varies. The default is the lab's: two masters, a standby, a threshold of two nodes in
/// three.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The network that it is for.
    pub variant: Variant,
    /// More lines of `[lb]`.
    pub lb: String,
    /// The checks of every cluster, a table's inside.
    pub health: String,
    /// More lines of every cluster.
    pub cluster: String,
    /// Nodes that are not in it.
    pub without: Vec<NodeIndex>,
    /// The masters; S stands by for them.
    pub masters: Vec<&'static str>,
    /// Nodes that are at another one's address.
    pub moved: BTreeMap<NodeIndex, NodeIndex>,
    /// Weights of nodes that do not have the usual one.
    pub weights: BTreeMap<NodeIndex, u32>,
    /// More services.
    pub services: String,
}

impl Default for Configuration {
    fn default() -> Self {
        let health = r#"kind = "tcp", interval = "200ms", timeout = "150ms", fall = 2, rise = 2"#;
        Self {
            variant: Variant::default(),
            lb: String::new(),
            health: health.to_owned(),
            cluster: String::new(),
            without: Vec::new(),
            masters: vec!["A", "B"],
            moved: BTreeMap::new(),
            weights: BTreeMap::new(),
            services: String::new(),
        }
    }
}

impl Configuration {
    /// The lab's with other checks.
    #[must_use]
    pub fn checked_by(health: &str) -> Self {
        Self { health: health.to_owned(), ..Self::default() }
    }

    /// Its text; paths are the owner's.
    #[must_use]
    pub fn text(&self, owner: Owner) -> String {
        let (bpffs, socket) = (owner.bpffs(), Daemon::socket(owner));
        let there = |name: &&&str| self.masters.contains(name) || **name == "S";
        let clusters: String =
            CLUSTERS.iter().filter(there).map(|name| self.cluster(name)).collect();
        format!(
            r#"[lb]
secret = "000102030405060708090a0b0c0d0e0f"
bpffs = "{bpffs}"
socket = "{socket}"
{lb}
[[interface]]
name = "{INTERFACE}"

{clusters}{web}
{services}"#,
            bpffs = bpffs.display(),
            socket = socket.display(),
            lb = self.lb,
            web = service_at("web", self.variant.service(), &self.masters),
            services = self.services,
        )
    }

    fn cluster(&self, name: &str) -> String {
        let node = |index: NodeIndex| {
            let (name, number) = (index.node().name, index.number());
            let address = self.variant.node(self.moved.get(&index).unwrap_or(&index).node());
            // The others leave the service's port as it is.
            let port = match self.variant.forward {
                Forward::Nat => format!("port = {}, ", self.variant.node_port()),
                _ => String::new(),
            };
            let weight = self.weights.get(&index).unwrap_or(&1);
            format!(
                "  {{ name = \"{name}\", address = \"{address}\", {port}number = {number}, \
                 weight = {weight} }},\n"
            )
        };
        let nodes = NodeIndex::of_cluster(name).filter(|node| !self.without.contains(node));
        let nodes: String = nodes.map(node).collect();
        format!(
            r#"[[cluster]]
name = "{name}"
min_survival_ratio = 0.6
forward = "{forward}"
health = {{ {health} }}
{more}
nodes = [
{nodes}]

"#,
            forward = self.variant.forward.name(),
            health = self.health,
            more = self.cluster,
        )
    }
}

/// A service of the lab's clusters on a port of its VIP.
#[must_use]
pub fn service(name: &str, port: u16) -> String {
    service_at(name, SocketAddr::new(Variant::default().vip(), port), &["A", "B"])
}

fn service_at(name: &str, address: SocketAddr, masters: &[&str]) -> String {
    format!(
        r#"[[service]]
name = "{name}"
address = "{address}"
protocol = "tcp"
backup = "one-standby"
masters = {masters:?}
standbys = ["S"]
"#
    )
}
