//! Which negatives are the fault of this host's own link or gateway.

use std::{collections::HashMap, net::IpAddr, time::Duration};

/// The way to one address.
#[derive(Clone, Copy, Debug)]
struct Way {
    up: bool,
    /// Since when.
    since: Duration,
}

/// Ways to addresses; those never heard of are up.
#[derive(Debug)]
pub struct Ways {
    known: HashMap<IpAddr, Way>,
    /// For how long a way that is down excuses whatever else is reachable.
    patience: Duration,
    /// When the latest check began that was a hit over a way that is up.
    elsewhere: Option<Duration>,
}

impl Ways {
    /// All are up.
    pub fn new(patience: Duration) -> Self {
        Self { known: HashMap::new(), patience, elsewhere: None }
    }

    /// A way is up or down from now on; hearing it again changes nothing.
    pub fn set(&mut self, address: IpAddr, up: bool, now: Duration) {
        match self.known.get_mut(&address) {
            Some(way) if way.up == up => {}
            Some(way) => *way = Way { up, since: now },
            None if up => {}
            None => _ = self.known.insert(address, Way { up, since: now }),
        }
    }

    /// Whether nothing is known against the way to an address.
    pub fn is_up(&self, address: IpAddr) -> bool {
        self.known.get(&address).is_none_or(|way| way.up)
    }

    /// A check that began at a time was a hit.
    pub fn hit(&mut self, address: IpAddr, start: Duration) {
        if self.is_up(address) {
            self.elsewhere = self.elsewhere.max(Some(start));
        }
    }

    /// Whether a negative says nothing of the node: the way was down at some time of the check.
    /// Not for ever: while other nodes are reached past a link that stays down, it is as good as
    /// broken, and so is what is behind it. Else no second link could ever take over.
    pub fn excuse(&self, address: IpAddr, start: Duration, now: Duration) -> bool {
        match self.known.get(&address) {
            None => false,
            Some(way) if way.up => start < way.since,
            Some(way) => {
                let patient = now.saturating_sub(way.since) < self.patience;
                patient || self.elsewhere.is_none_or(|hit| hit < way.since)
            }
        }
    }

    /// How many are down.
    pub fn down(&self) -> usize {
        self.known.values().filter(|way| !way.up).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, 1));
    const PATIENCE: Duration = Duration::from_secs(10);

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_negative_of_a_way_that_was_down_is_excused() {
        let mut ways = Ways::new(PATIENCE);
        assert!(!ways.excuse(NEAR, s(1), s(2)), "nothing is known: it counts");
        ways.set(NEAR, false, s(5));
        assert!(ways.excuse(NEAR, s(4), s(6)), "it went down meanwhile");
        assert!(!ways.excuse(FAR, s(4), s(6)), "another way");
        ways.set(NEAR, true, s(8));
        ways.set(NEAR, true, s(9));
        assert!(ways.excuse(NEAR, s(7), s(9)), "it began while it was down");
        assert!(!ways.excuse(NEAR, s(8), s(9)), "it began after that");
    }

    #[test]
    fn patience_ends_only_if_others_are_reached() {
        let mut ways = Ways::new(PATIENCE);
        ways.hit(FAR, s(4));
        ways.set(NEAR, false, s(5));
        ways.set(NEAR, false, s(9));
        assert!(ways.excuse(NEAR, s(100), s(101)), "nobody was reached since");
        ways.hit(NEAR, s(6));
        assert!(ways.excuse(NEAR, s(100), s(101)), "a late answer by the same way");
        ways.hit(FAR, s(6));
        assert!(ways.excuse(NEAR, s(13), s(14)), "within patience");
        assert!(!ways.excuse(NEAR, s(14), s(15)), "another way works, this one does not");
        assert_eq!(ways.down(), 1);
    }
}
