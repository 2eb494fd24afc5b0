//! Which of this host's own links and gateways are down on the way to nodes.

use std::{collections::BTreeMap, fmt};

use crate::nexthop::Way;

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
        Way::LinkDown { ifindex } => nix::net::if_::if_indextoname(ifindex).map_or_else(
            |_| format!("interface {ifindex}"),
            |name| format!("interface {}", name.to_string_lossy()),
        ),
    }
}

/// The way to each node, as far as it was told.
#[derive(Debug, Default)]
pub struct Ways {
    known: Vec<Way>,
    /// How many nodes are behind each cause.
    causes: BTreeMap<Way, usize>,
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
}
