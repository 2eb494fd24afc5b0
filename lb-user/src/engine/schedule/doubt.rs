//! Which misses wait for a word of the gateway on the way to the node.
//!
//! The kernel takes seconds to see that a gateway is dead, and nodes behind it would fall before
//! that. So silence from behind a gateway is not believed at once, but as soon as anything has come
//! through the gateway since, or it has answered the kernel itself, which is asked for that.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::decide::{MissReason, Outcome, TargetId};

/// For so long a miss waits at most. By default the kernel asks three times, a second apart.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// A gateway of which nothing was heard for longer was away: what waited for it says nothing.
const PROMPT: Duration = Duration::from_secs(1);

/// A miss that waits.
#[derive(Clone, Copy, Debug)]
struct Held {
    target: TargetId,
    outcome: Outcome,
    address: IpAddr,
    gateway: IpAddr,
    /// When it counts whatever is known then.
    until: Duration,
}

/// What became of misses that waited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// They count, oldest first.
    pub counts: Vec<(TargetId, Outcome)>,
    /// So many do not: they were their gateway's.
    pub void: usize,
}

/// Misses that wait, and what they wait for.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Gateways by address behind them.
    gateways: HashMap<IpAddr, IpAddr>,
    /// Oldest first.
    held: Vec<Held>,
    /// To be asked for by the kernel.
    asked: Vec<IpAddr>,
}

impl Doubts {
    /// An address is behind a gateway from now on, or on link.
    pub fn set(&mut self, address: IpAddr, gateway: Option<IpAddr>) {
        match gateway {
            Some(gateway) => _ = self.gateways.insert(address, gateway),
            None => _ = self.gateways.remove(&address),
        }
    }

    /// Holds an outcome back if it could be a gateway's fault; returns whether it is held.
    pub fn hold(&mut self, of: (TargetId, IpAddr), outcome: Outcome, now: Duration) -> bool {
        let (target, address) = of;
        let silence = Outcome::Miss(MissReason::Timeout);
        let silent = outcome == silence || outcome == Outcome::Miss(MissReason::Unreachable);
        let Some(&gateway) = self.gateways.get(&address).filter(|_| silent) else { return false };
        if self.held.iter().all(|held| held.gateway != gateway) {
            self.asked.push(gateway);
        }
        self.held.push(Held { target, outcome, address, gateway, until: now + PATIENCE });
        true
    }

    /// Something came back from an address: its gateway lives.
    pub fn heard(&mut self, address: IpAddr, now: Duration) -> Freed {
        let gateway = self.gateways.get(&address).copied();
        gateway.map_or_else(Freed::default, |gateway| self.answers(gateway, now))
    }

    /// A gateway lives. What waited for it counts, unless it had to wait for long.
    pub fn answers(&mut self, gateway: IpAddr, now: Duration) -> Freed {
        let counts = self.take(|held| held.gateway == gateway);
        match counts.first() {
            Some(first) if now + PATIENCE > first.until + PROMPT => {
                Freed { counts: Vec::new(), void: counts.len() }
            }
            _ => Freed::counting(&counts),
        }
    }

    /// What has waited long enough.
    pub fn over(&mut self, now: Duration) -> Freed {
        Freed::counting(&self.take(|held| held.until <= now))
    }

    /// The way to an address is down: what waits there says nothing.
    pub fn down(&mut self, address: IpAddr) -> Freed {
        Freed { counts: Vec::new(), void: self.take(|held| held.address == address).len() }
    }

    /// Gateways that the kernel is to ask whether they live.
    pub fn asked(&mut self) -> Vec<IpAddr> {
        std::mem::take(&mut self.asked)
    }

    fn take(&mut self, which: impl Fn(&Held) -> bool) -> Vec<Held> {
        self.held.extract_if(.., |held| which(held)).collect()
    }
}

impl Freed {
    fn counting(held: &[Held]) -> Self {
        Self { counts: held.iter().map(|held| (held.target, held.outcome)).collect(), void: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const ONE: (TargetId, IpAddr) = (TargetId(1), at(1));
    const TWO: (TargetId, IpAddr) = (TargetId(2), at(2));
    const ON_LINK: (TargetId, IpAddr) = (TargetId(3), at(3));
    const MISS: Outcome = Outcome::Miss(MissReason::Timeout);

    const fn at(node: u8) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, node))
    }

    #[test]
    fn silence_from_behind_a_gateway_waits_for_its_word() {
        let mut doubts = Doubts::default();
        doubts.set(ONE.1, Some(GATEWAY));
        doubts.set(TWO.1, Some(GATEWAY));
        let now = Duration::from_secs(7);
        assert!(!doubts.hold(ON_LINK, MISS, now));
        assert!(!doubts.hold(ONE, Outcome::Miss(MissReason::Refused), now), "that came through");
        assert!(doubts.hold(ONE, MISS, now) && doubts.hold(TWO, MISS, now));
        assert_eq!(doubts.asked(), [GATEWAY], "once");
        let counts = |of: &[TargetId]| Freed {
            counts: of.iter().map(|&target| (target, MISS)).collect(),
            void: 0,
        };
        assert_eq!(doubts.heard(ON_LINK.1, now), counts(&[]));
        assert_eq!(doubts.heard(TWO.1, now + PROMPT), counts(&[ONE.0, TWO.0]));
        assert!(doubts.hold(ONE, MISS, now) && doubts.hold(TWO, MISS, now));
        assert_eq!(doubts.asked(), [GATEWAY], "again");
        assert_eq!(doubts.down(ONE.1).void, 1);
        assert_eq!(doubts.over(now + PATIENCE - Duration::from_millis(1)), counts(&[]));
        assert_eq!(doubts.over(now + PATIENCE), counts(&[TWO.0]));
        assert_eq!(doubts.answers(GATEWAY, now), counts(&[]), "each counts once");
    }

    #[test]
    fn a_gateway_that_was_away_for_long_had_swallowed_what_waited() {
        let mut doubts = Doubts::default();
        doubts.set(ONE.1, Some(GATEWAY));
        let now = Duration::from_secs(7);
        assert!(doubts.hold(ONE, MISS, now) && doubts.hold(ONE, MISS, now + PROMPT));
        let late = doubts.heard(ONE.1, now + PROMPT + Duration::from_millis(1));
        assert_eq!(late, Freed { counts: Vec::new(), void: 2 });
    }
}
