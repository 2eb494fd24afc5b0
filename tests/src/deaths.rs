//! Which node was dead when, or seemed to be, by the harness's own hand: the only excuse that a connection has to end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{clock::Moment, topology::NodeIndex};

/// How long a node that is back may still be taken for dead, or have neighbours that do so.
const BELIEVED_DEAD: Duration = Duration::from_secs(2);

/// A time in which a node was dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Death {
    /// Who.
    pub node: NodeIndex,
    /// Just before.
    pub from: Moment,
    /// When it was alive again; `None` while it is not.
    pub to: Option<Moment>,
}

/// All of them so far. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Deaths(Arc<Mutex<Vec<Death>>>);

impl Deaths {
    /// A node is about to die, or to seem dead to whoever checks it; one that is dead stays so.
    pub fn dies(&self, node: NodeIndex) {
        let mut all = self.lock();
        if !all.iter().any(|death| death.node == node && death.to.is_none()) {
            all.push(Death { node, from: Moment::now(), to: None });
        }
    }

    /// A node was brought back, if it was dead.
    pub fn returns(&self, node: NodeIndex) {
        let mut all = self.lock();
        let open = all.iter_mut().find(|death| death.node == node && death.to.is_none());
        if let Some(death) = open {
            death.to = Some(Moment::now());
        }
    }

    /// Whether a node was dead at some moment from one to another, or had just come back.
    #[must_use]
    pub fn fall_into(&self, node: NodeIndex, from: Moment, to: Moment) -> bool {
        self.lock().iter().any(|death| {
            let ended = death.to.is_some_and(|end| end.after(BELIEVED_DEAD) < from);
            death.node == node && death.from <= to && !ended
        })
    }

    /// All of them, in the order in which they began.
    #[must_use]
    pub fn all(&self) -> Vec<Death> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Death>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_excuses_what_meets_its_death_and_nothing_else() {
        let deaths = Deaths::default();
        let [a, b] = ["a1", "b1"].map(|name| NodeIndex::named(name).expect("a node"));
        let before = Moment::now();
        assert!(!deaths.fall_into(a, before, Moment::now()));
        deaths.dies(a);
        deaths.dies(a);
        let death = deaths.all()[0];
        let later = death.from.after(Duration::from_secs(100));
        assert_eq!(deaths.all().len(), 1, "nobody dies twice");
        assert!(deaths.fall_into(a, before, death.from) && deaths.fall_into(a, later, later));
        assert!(!deaths.fall_into(b, before, later));
        deaths.returns(a);
        let back = deaths.all()[0].to.expect("it is back");
        assert!(deaths.fall_into(a, back.after(BELIEVED_DEAD), later));
        assert!(!deaths.fall_into(a, back.after(BELIEVED_DEAD * 2), later), "it lives again");
    }
}
