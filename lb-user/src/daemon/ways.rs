//! Which of this host's own links and gateways are down on the way to nodes, and which nodes have
//! no next hop.

use std::{collections::BTreeMap, fmt};

use crate::nexthop::{Lack, Way};

/// What took a way down, or brought it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was about; never [`Way::Up`].
    pub cause: Way,
    /// Whether it is up again.
    pub up: bool,
}

impl Change {
    /// Its kind, for machines.
    pub fn kind(self) -> &'static str {
        match (self.cause, self.up) {
            (Way::GatewayDown { .. }, true) => "gateway_up",
            (Way::GatewayDown { .. }, false) => "gateway_down",
            (Way::LinkDown { .. } | Way::Up, true) => "link_up",
            (Way::LinkDown { .. } | Way::Up, false) => "link_down",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = name(self.cause);
        match self.up {
            true => write!(f, "{cause} is up again: misses behind it count"),
            false => write!(f, "{cause} is down: misses behind it say nothing of the nodes"),
        }
    }
}

/// What is down, in words.
pub fn name(cause: Way) -> String {
    match cause {
        Way::Up => "the way".to_owned(),
        Way::GatewayDown { gateway } => format!("gateway {gateway}"),
        Way::LinkDown { ifindex } => format!("interface {}", interface(ifindex)),
    }
}

/// Why a node has no next hop, in words.
pub fn explain(lack: Lack) -> String {
    match lack {
        Lack::NoRoute => "no route".to_owned(),
        Lack::Local => "this host itself".to_owned(),
        Lack::Elsewhere { ifindex } => {
            format!("out of {}, which is no [[interface]]", interface(ifindex))
        }
        Lack::Tags { ifindex } => {
            format!("out of {}, under more than two VLAN tags", interface(ifindex))
        }
        Lack::NotEthernet { ifindex } => {
            format!("out of {}, which is not Ethernet", interface(ifindex))
        }
        Lack::Silent => "no answer to ARP or neighbor discovery yet".to_owned(),
        Lack::NoSource => "this host has no address for a tunnel".to_owned(),
    }
}

fn interface(ifindex: u32) -> String {
    nix::net::if_::if_indextoname(ifindex)
        .map_or_else(|_| ifindex.to_string(), |name| name.to_string_lossy().into_owned())
}

/// The way to each node, as far as it was told.
#[derive(Debug, Default)]
pub struct Ways {
    known: Vec<Way>,
    /// How many nodes are behind each cause.
    causes: BTreeMap<Way, usize>,
    /// Why nodes have no next hop.
    lacks: BTreeMap<usize, Lack>,
}

impl Ways {
    /// Takes in the way to a node; returns whether it is news for the node, and what changed by
    /// it that is more than one node's: at most the end of one cause and the begin of another.
    pub fn set(&mut self, node: usize, way: Way) -> (bool, Vec<Change>) {
        if self.known.len() <= node {
            self.known.resize(node + 1, Way::Up);
        }
        let was = std::mem::replace(&mut self.known[node], way);
        let mut changes = Vec::new();
        if was == way {
            return (false, changes);
        }
        if let Some(nodes) = self.causes.get_mut(&was) {
            *nodes -= 1;
            if *nodes == 0 {
                self.causes.remove(&was);
                changes.push(Change { cause: was, up: true });
            }
        }
        if way != Way::Up {
            let nodes = self.causes.entry(way).or_default();
            *nodes += 1;
            if *nodes == 1 {
                changes.push(Change { cause: way, up: false });
            }
        }
        (true, changes)
    }

    /// Takes in why a node has no next hop; `None`: it has one.
    pub fn lacks(&mut self, node: usize, lack: Option<Lack>) {
        match lack {
            Some(lack) => self.lacks.insert(node, lack),
            None => self.lacks.remove(&node),
        };
    }

    /// Why nodes have no next hop, and how many for each reason.
    pub fn unresolved(&self) -> BTreeMap<Lack, usize> {
        let mut found = BTreeMap::new();
        self.lacks.values().for_each(|lack| *found.entry(*lack).or_default() += 1);
        found
    }

    /// What is down, and how many nodes are behind it.
    pub fn down(&self) -> impl Iterator<Item = (Way, usize)> {
        self.causes.iter().map(|(cause, nodes)| (*cause, *nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_for_each_link_whatever_is_behind_it() {
        let mut ways = Ways::default();
        let (eth, other) = (Way::LinkDown { ifindex: 2 }, Way::LinkDown { ifindex: 3 });
        let (down, up) = (|cause| Change { cause, up: false }, |cause| Change { cause, up: true });
        let table = [
            (0, Way::Up, false, vec![]),
            (0, eth, true, vec![down(eth)]),
            (1, eth, true, vec![]),
            (1, eth, false, vec![]),
            (4, other, true, vec![down(other)]),
            (0, Way::Up, true, vec![]),
            (1, other, true, vec![up(eth)]),
            (4, Way::Up, true, vec![]),
            (1, Way::Up, true, vec![up(other)]),
        ];
        for (step, (node, way, news, changes)) in table.into_iter().enumerate() {
            assert_eq!(ways.set(node, way), (news, changes), "step {step}");
        }
        assert_eq!(ways.down().count(), 0);
    }

    #[test]
    fn nodes_without_a_next_hop_are_counted_by_the_reason() {
        let mut ways = Ways::default();
        let table = [
            (0, Some(Lack::Silent), vec![(Lack::Silent, 1)]),
            (3, Some(Lack::Silent), vec![(Lack::Silent, 2)]),
            (0, Some(Lack::NoRoute), vec![(Lack::NoRoute, 1), (Lack::Silent, 1)]),
            (3, None, vec![(Lack::NoRoute, 1)]),
            (1, None, vec![(Lack::NoRoute, 1)]),
            (0, None, vec![]),
        ];
        for (step, (node, lack, left)) in table.into_iter().enumerate() {
            ways.lacks(node, lack);
            assert_eq!(ways.unresolved().into_iter().collect::<Vec<_>>(), left, "step {step}");
        }
    }
}
