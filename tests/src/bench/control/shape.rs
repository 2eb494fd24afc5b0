//! The configurations that are measured.

use std::fmt::{self, Write};

use serde::Serialize;

/// So many services, each with an address and a cluster of its own. Beside its own one it has its
/// neighbours' clusters, if there are as many: a second master, and a standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Services, and clusters.
    pub services: usize,
    /// Nodes of each cluster.
    pub nodes_per_cluster: usize,
}

impl Shape {
    /// All of them: more and more services, and as many nodes in a cluster as there can be.
    pub const ALL: [Self; 4] = [
        Self { services: 10, nodes_per_cluster: 4 },
        Self { services: 100, nodes_per_cluster: 4 },
        Self { services: 1000, nodes_per_cluster: 4 },
        Self { services: 1, nodes_per_cluster: 4096 },
    ];

    /// Nodes in all.
    #[must_use]
    pub const fn nodes(self) -> usize {
        self.services * self.nodes_per_cluster
    }

    /// The configuration's text.
    #[must_use]
    pub fn text(self) -> String {
        let mut text = String::new();
        for cluster in 0..self.services {
            let node = |index| {
                let [a, b, c] = address(cluster * self.nodes_per_cluster + index);
                format!("{{ name = \"n{index:04}\", address = \"10.{a}.{b}.{c}\" }}")
            };
            let nodes: Vec<String> = (0..self.nodes_per_cluster).map(node).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "[[cluster]]\nname = \"c{cluster:04}\"\nhealth = {{ port = 80, fall = 1, rise = 1 }}\n\
                 nodes = [{}]",
                nodes.join(",\n")
            );
        }
        for service in 0..self.services {
            let [a, b, c, d] = self.vip(service);
            let _ = writeln!(
                text,
                "[[service]]\nname = \"s{service:04}\"\naddress = \"{a}.{b}.{c}.{d}:80\"\n{}",
                self.members(service)
            );
        }
        text
    }

    fn members(self, service: usize) -> String {
        let cluster = |next: usize| format!("\"c{:04}\"", (service + next) % self.services);
        if self.services < 3 {
            return format!("masters = [{}]", cluster(0));
        }
        let [own, second, standby] = [0, 1, 2].map(cluster);
        format!("backup = \"one-standby\"\nmasters = [{own}, {second}]\nstandbys = [{standby}]")
    }

    /// A service's address, of those that are for benchmarks (RFC 2544).
    #[must_use]
    pub fn vip(self, service: usize) -> [u8; 4] {
        let [_, b, c] = address(service);
        [198, 18, b, c]
    }
}

/// The last three bytes of an address.
fn address(number: usize) -> [u8; 3] {
    // No network address and no broadcast address of any prefix up to 24 bits.
    [(number / 62_500) as u8, (number / 250 % 250) as u8, (number % 250 + 1) as u8]
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (services, nodes) = (self.services, self.nodes_per_cluster);
        let s = if services == 1 { "" } else { "s" };
        write!(f, "{services} service{s}, {services} cluster{s} of {nodes} nodes")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use lb_user::config::{self, Service};

    use super::*;

    #[test]
    fn all_are_valid_and_of_their_size() {
        for shape in Shape::ALL {
            let config = config::parse(&shape.text(), "shape").expect("it is valid").config;
            assert_eq!(config.services.len(), shape.services);
            assert_eq!(config.clusters.len(), shape.services);
            let nodes: usize = config.clusters.iter().map(|cluster| cluster.nodes.len()).sum();
            assert_eq!(nodes, shape.nodes());
            for (position, service) in config.services.iter().enumerate() {
                assert_eq!(service.address, IpAddr::from(shape.vip(position)), "{shape}");
            }
            let clusters = |s: &Service| s.members().map(|member| member.cluster).collect();
            let sets: BTreeSet<Vec<usize>> = config.services.iter().map(clusters).collect();
            assert_eq!(sets.len(), shape.services, "each has a set of clusters of its own");
        }
    }

    #[test]
    fn shapes_are_told_in_words() {
        let words = Shape::ALL.map(|shape| shape.to_string());
        assert_eq!(words[0], "10 services, 10 clusters of 4 nodes");
        assert_eq!(words[3], "1 service, 1 cluster of 4096 nodes");
    }
}
