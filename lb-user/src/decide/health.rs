//! Decides from the outcomes of its checks whether a node may get new flows and keep old ones.
//!
//! What is checked is a target; the same node may be asked for several services in several ways,
//! and be up for one and down for another.

use super::tables::Withheld;
use crate::config::Health;

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It answered as it should.
    Hit,
    /// It answered, but says of itself that it is not working.
    NotWorking,
    /// It did not answer as it should.
    Miss(MissReason),
}

/// Why a check was a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MissReason {
    /// No answer in time.
    Timeout,
    /// It refused the connection.
    Refused,
    /// It closed or reset the connection before the answer was whole.
    Closed,
    /// The network says that there is no way to it.
    Unreachable,
    /// The TLS handshake failed, or the certificate is not to be trusted.
    Tls,
    /// It answered with a status that was not expected: of HTTP, a code of gRPC or of DNS.
    Status(u16),
    /// It answered wrongly in another way.
    BadAnswer,
    /// This host could not make the check. No outcome.
    Local,
    /// This process was starved, or its own link or gateway was down. No outcome.
    Starved,
}

impl MissReason {
    /// It says something of the node, and not only of this host.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Local | Self::Starved)
    }
}

/// What is known of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// No outcome yet.
    Unknown,
    /// It serves.
    Up,
    /// It reaches its connections but wants no more.
    NotWorking,
    /// It does not answer.
    Down(MissReason),
}

impl NodeState {
    /// The higher, the better for who is sent there.
    pub(super) const fn rank(self) -> u8 {
        match self {
            Self::Up => 3,
            Self::NotWorking => 2,
            Self::Down(_) => 1,
            Self::Unknown => 0,
        }
    }
}

/// What the operator wants of a node, the weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Admin {
    /// It serves.
    #[default]
    InService,
    /// It gets no new flows; its connections may finish.
    Drained,
    /// As drained; and it is not checked, and loses its connections at the drain limit.
    Maintenance,
}

/// The two bits of a node in a pool, and whether it counts there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeHealth {
    /// In service: it counts in the total of its cluster if it has a weight.
    pub in_service: bool,
    /// May get new flows.
    pub eligible: bool,
    /// May keep old ones.
    pub up: bool,
    /// While it starts slowly: what it does not get yet.
    pub withheld: Withheld,
}

impl NodeHealth {
    /// The bits of a node that is in this state, of which the operator wants this.
    pub fn of(state: NodeState, admin: Admin) -> Self {
        let in_service = admin == Admin::InService;
        Self {
            in_service,
            eligible: in_service && state == NodeState::Up,
            // Unknown is not down.
            up: !matches!(state, NodeState::Down(_)),
            withheld: Withheld::default(),
        }
    }
}

/// One target's health over time (M1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMonitor {
    state: NodeState,
    /// Hits in a row.
    hits: u32,
    /// Misses in a row.
    misses: u32,
    /// Hits are about to make it up.
    rises: bool,
    /// Misses are about to make it down.
    falls: bool,
}

/// What an outcome means for a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One of so many that change it, in a row; the last one changes it.
    Step {
        /// How many there are.
        is: u32,
        /// How many there must be.
        of: u32,
    },
    /// The row is broken, and the state stays.
    Back,
}

impl NodeMonitor {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self { state: NodeState::Unknown, hits: 0, misses: 0, rises: false, falls: false }
    }

    /// It was in this state before somebody began to look.
    pub(super) fn in_state(state: NodeState) -> Self {
        Self { state, ..Self::new() }
    }

    /// Takes an outcome into account; returns what that means for the state, if it does something.
    pub fn observe(&mut self, outcome: Outcome, rules: &Health) -> Option<Way> {
        // What this host could not do says nothing of the node.
        if matches!(outcome, Outcome::Miss(reason) if !reason.counts()) {
            return None;
        }
        let was_undecided = self.is_undecided();
        (self.hits, self.misses) = match outcome {
            Outcome::Hit => (self.hits.saturating_add(1), 0),
            Outcome::NotWorking => (0, 0),
            Outcome::Miss(_) => (0, self.misses.saturating_add(1)),
        };
        let (before, after) = (self.state, self.next(outcome, rules));
        self.state = after;
        self.rises = matches!(after, NodeState::NotWorking | NodeState::Down(_)) && self.hits > 0;
        self.falls = matches!(after, NodeState::Up | NodeState::NotWorking) && self.misses > 0;
        match (before, outcome) {
            (NodeState::Unknown, _) => None,
            (NodeState::Up, Outcome::NotWorking) => Some(Way::Step { is: 1, of: 1 }),
            (NodeState::Up | NodeState::NotWorking, Outcome::Miss(_)) => {
                Some(Way::Step { is: self.misses, of: rules.fall })
            }
            (NodeState::NotWorking | NodeState::Down(_), Outcome::Hit) => {
                Some(Way::Step { is: self.hits, of: rules.rise })
            }
            _ => was_undecided.then_some(Way::Back),
        }
    }

    /// The state after an outcome that has been counted.
    fn next(&self, outcome: Outcome, rules: &Health) -> NodeState {
        match (self.state, outcome) {
            (NodeState::Unknown, Outcome::Hit) => NodeState::Up,
            (NodeState::Unknown, Outcome::Miss(reason)) => NodeState::Down(reason),
            (NodeState::NotWorking | NodeState::Down(_), Outcome::Hit)
                if self.hits >= rules.rise =>
            {
                NodeState::Up
            }
            (NodeState::Up | NodeState::NotWorking, Outcome::Miss(reason))
                if self.misses >= rules.fall =>
            {
                NodeState::Down(reason)
            }
            (NodeState::Unknown | NodeState::Up, Outcome::NotWorking) => NodeState::NotWorking,
            // A node that is down and says that it is not working stays down: it has no connections
            // that could finish, and gets none. It ends a row of hits.
            (before, _) => before,
        }
    }

    /// Whether its last outcomes, if more like them follow, change its state.
    pub fn is_undecided(&self) -> bool {
        self.rises || self.falls
    }

    /// Whether it is up, and missed its last check.
    pub fn is_falling(&self) -> bool {
        self.falls && self.state == NodeState::Up
    }

    /// What is known of it.
    pub fn state(&self) -> NodeState {
        self.state
    }
}

impl Default for NodeMonitor {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Exchange, Probe, Via};

    const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
    const DOWN: NodeState = NodeState::Down(MissReason::Timeout);
    use NodeState::{NotWorking, Unknown, Up};
    use Outcome::Hit;

    /// Each step: an outcome and the state after it, with fall 3 and rise 2.
    fn walk(steps: &[(Outcome, NodeState)]) {
        let rules = Health {
            probe: Probe::Tcp(Exchange::default()),
            source: None,
            via: Via::Direct,
            port: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
        };
        let mut node = NodeMonitor::new();
        for (i, &(outcome, state)) in steps.iter().enumerate() {
            let before = node.state();
            let way = node.observe(outcome, &rules);
            // The last step of a way changes the state; the first outcome does without a way.
            let last = matches!(way, Some(Way::Step { is, of }) if is >= of);
            let first = before == Unknown && state != Unknown;
            assert_eq!(last || first, before != state, "step {i}: {way:?}");
            assert_eq!(node.state(), state, "step {i}");
        }
    }

    #[test]
    fn first_outcome_counts_at_once() {
        assert_eq!(NodeMonitor::new().state(), Unknown);
        walk(&[(Hit, Up)]);
        walk(&[(MISS, DOWN)]);
        walk(&[(Outcome::NotWorking, NotWorking)]);
    }

    #[test]
    fn only_misses_in_a_row_make_it_down() {
        walk(&[(Hit, Up), (MISS, Up), (MISS, Up), (Hit, Up), (MISS, Up), (MISS, Up), (MISS, DOWN)]);
    }

    #[test]
    fn only_hits_in_a_row_make_it_up() {
        walk(&[(MISS, DOWN), (Hit, DOWN), (MISS, DOWN), (Hit, DOWN), (Hit, Up)]);
    }

    #[test]
    fn a_node_that_says_no_is_out_at_once_and_back_after_rise() {
        walk(&[(Hit, Up), (Outcome::NotWorking, NotWorking), (Hit, NotWorking), (Hit, Up)]);
        walk(&[(MISS, DOWN), (Hit, DOWN), (Outcome::NotWorking, DOWN), (Hit, DOWN), (Hit, Up)]);
        let not = (Outcome::NotWorking, NotWorking);
        walk(&[not, (MISS, NotWorking), (MISS, NotWorking), not, (MISS, NotWorking)]);
        walk(&[not, (MISS, NotWorking), (MISS, NotWorking), (MISS, DOWN)]);
    }

    #[test]
    fn what_this_host_could_not_do_says_nothing() {
        let local = Outcome::Miss(MissReason::Local);
        walk(&[(local, Unknown), (Hit, Up), (local, Up), (local, Up), (local, Up)]);
        walk(&[(Hit, Up), (MISS, Up), (local, Up), (MISS, Up), (local, Up), (MISS, DOWN)]);
        walk(&[(MISS, DOWN), (Hit, DOWN), (local, DOWN), (Hit, Up)]);
    }

    #[test]
    fn two_bits() {
        let bits = |state, admin| {
            let health = NodeHealth::of(state, admin);
            (health.in_service, health.eligible, health.up)
        };
        assert_eq!(bits(Up, Admin::InService), (true, true, true));
        assert_eq!(bits(Unknown, Admin::InService), (true, false, true));
        assert_eq!(bits(DOWN, Admin::InService), (true, false, false));
        assert_eq!(bits(NotWorking, Admin::InService), (true, false, true));
        assert_eq!(bits(Up, Admin::Drained), (false, false, true));
        assert_eq!(bits(Up, Admin::Maintenance), (false, false, true));
        assert_eq!(bits(DOWN, Admin::Maintenance), (false, false, false));
    }
}
