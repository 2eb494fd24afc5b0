//! What the state does with tables over time: when it publishes them, and what sweeps change.

use std::{sync::Arc, time::Duration};

use lb_common::{
    ClusterId, NodeId, PinEntry, ServiceId, SlotState,
    pin::{Pin, PinState, Tick},
};

use super::fixture::{checked, cluster, config, percent, service, started};
use crate::{
    config::{BackupMode, Config},
    decide::{Effect, Event, Intent, MissReason, Outcome, State, Table, moved::Swept},
};

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
const DRAIN: u64 = 300;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two services on the same two clusters, of which each has three nodes; connections of A may stay for
/// five minutes, those of B for one.
fn two() -> Config {
    let mut config = config(vec![
        cluster("A", 1, percent(50), &[1, 1, 1]),
        cluster("B", 1, percent(50), &[1, 1, 1]),
    ]);
    for (cluster, drain) in config.clusters.iter_mut().zip([DRAIN, 60]) {
        (cluster.health.fall, cluster.health.rise) = (1, 1);
        (cluster.drain, cluster.pin_idle) = (at(drain), at(drain));
    }
    for name in ["one", "two"] {
        config.services.push(service(&config, name, BackupMode::MultiMaster, "A B", ""));
    }
    config
}

struct Running {
    state: State,
    intent: Arc<Intent>,
}

impl Running {
    /// With all nodes up.
    fn new(config: Config) -> Self {
        let mut state = started(Arc::new(config), at(0));
        let hits: Vec<Event> =
            (0..6).flat_map(|node| checked(state.view().model, node, Outcome::Hit)).collect();
        let intent = published(&state.step(at(1), &hits)).expect("a plan");
        Self { state, intent }
    }

    /// Whether something is published.
    fn step(&mut self, now: u64, events: &[Event]) -> bool {
        let intent = published(&self.state.step(at(now), events));
        self.intent = intent.clone().unwrap_or(Arc::clone(&self.intent));
        intent.is_some()
    }

    fn check(&mut self, now: u64, nodes: std::ops::Range<usize>, outcome: Outcome) -> bool {
        let model = self.state.view().model;
        let events: Vec<Event> = nodes.flat_map(|node| checked(model, node, outcome)).collect();
        self.step(now, &events)
    }

    fn swept(&self) -> Event {
        let sweep = self.state.sweep().expect("a plan");
        let (swept, ended) = sweep.judge(std::iter::empty::<((), _)>(), Tick::at(0));
        assert!(ended.is_empty());
        Event::Swept(Arc::new(swept))
    }

    /// With one pin, in this slot of the first service.
    fn swept_with_pin(&self, slot: usize) -> Event {
        let pin = Pin {
            node: NodeId::new(0).expect("an id"),
            service: ServiceId::new(0).expect("an id"),
            cluster: ClusterId::new(0).expect("an id"),
            state: PinState::Live,
            last: Tick::at(0),
        };
        let log2 = self.intent.services[0].slots.len().ilog2();
        let entry = PinEntry { tag: (slot as u64) << (64 - log2) | 77, value: pin.raw() };
        let (swept, _) = self.state.sweep().expect("a plan").judge([((), entry)], Tick::at(0));
        Event::Swept(Arc::new(swept))
    }
}

fn published(effects: &[Effect]) -> Option<Arc<Intent>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Publish(intent) => Some(Arc::clone(intent)),
        Effect::Refused(violations) => panic!("{violations:?}"),
        Effect::Notice(_) => None,
    })
}

/// Numbers of slots that are clean, drain, and are behind their windows.
fn states(table: &Table) -> [usize; 3] {
    let count = |state| table.slots.iter().filter(|slot| slot.state() == state).count();
    assert_eq!(table.base.is_some(), count(SlotState::Drain) > 0);
    [SlotState::Clean, SlotState::Drain, SlotState::Residue].map(count)
}

#[test]
fn a_window_opens_closes_and_is_swept() {
    let mut running = Running::new(two());
    let steady = Arc::clone(&running.intent);
    assert_eq!(running.state.deadline(), None);
    assert!(running.check(10, 0..1, MISS));
    let moved = steady.clusters[0].slots.iter().filter(|slot| slot.member() == Some(0)).count();
    let all = steady.clusters[0].slots.len();
    assert_eq!(states(&running.intent.clusters[0]), [all - moved, moved, 0]);
    assert_eq!(running.intent.clusters[1], steady.clusters[1]);
    assert_eq!(running.state.deadline(), Some(at(10 + DRAIN)));
    assert!(!running.step(9 + DRAIN, &[]));
    // A sweep in a window finds nothing to be done, and nothing is decided because of it.
    let early = running.swept();
    let news = running.state.apply(at(9 + DRAIN), &early, &mut Vec::new());
    assert!(!news && !running.step(9 + DRAIN, std::slice::from_ref(&early)));
    assert!(running.state.view().swept.is_some(), "but it is known");

    assert!(running.step(10 + DRAIN, &[]));
    assert_eq!(states(&running.intent.clusters[0]), [all - moved, 0, moved]);
    assert_eq!(running.state.deadline(), None);
    assert!(!running.step(11 + DRAIN, &[early]), "it was made with other tables");
    let swept = running.swept();
    assert!(running.step(12 + DRAIN, &[swept]));
    assert_eq!(states(&running.intent.clusters[0]), [all, 0, 0]);
    assert!(running.state.tracks.is_clean());
    assert!(running.state.view().swept.is_some_and(|swept| *swept != Swept::default()));
}

#[test]
fn windows_close_at_once_where_there_is_no_room_for_them() {
    let mut running = Running::new(two());
    assert!(running.check(10, 0..1, MISS));
    let [clean, moved, _] = states(&running.intent.clusters[0]);
    assert!(moved > 0 && running.step(11, &[Event::CloseWindows]));
    assert_eq!(states(&running.intent.clusters[0]), [clean, 0, moved]);
    assert_eq!(running.state.deadline(), None);
    assert!(!running.step(12, &[Event::CloseWindows]), "none is open");
    // What is pinned stays where it is until a sweep.
    let swept = running.swept();
    assert!(running.step(13, &[swept]));
    assert_eq!(states(&running.intent.clusters[0]), [clean + moved, 0, 0]);
}

#[test]
fn limits_are_the_clusters_of_before() {
    let mut running = Running::new(two());
    assert!(running.check(10, 3..6, MISS), "B fails");
    assert_eq!(running.state.deadline(), Some(at(70)));
    assert!(states(&running.intent.services[0])[1] > 0);
    assert!(running.check(20, 3..6, Outcome::Hit), "and is back");
    assert_eq!(states(&running.intent.services[0])[1], 0);
    assert!(running.check(30, 0..3, MISS), "A fails");
    assert_eq!(running.state.deadline(), Some(at(30 + DRAIN)));
}

#[test]
fn services_with_the_same_history_share_their_tables() {
    let mut running = Running::new(two());
    let shared = |intent: &Intent| {
        let [one, two] = &intent.services[..] else { panic!("two services") };
        let base = match (&one.base, &two.base) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        base && Arc::ptr_eq(&one.slots, &two.slots)
    };
    assert!(shared(&running.intent));
    running.check(10, 3..6, MISS);
    assert!(shared(&running.intent) && running.intent.services[0].base.is_some());
    running.step(70, &[]);
    assert!(shared(&running.intent) && states(&running.intent.services[0])[2] > 0);
    // Where one of them has a pin, both look for pins.
    let mut slots = running.intent.services[0].slots.iter();
    let slot = slots.position(|slot| slot.state() == SlotState::Residue).expect("a slot");
    let swept = running.swept_with_pin(slot);
    assert!(running.step(71, &[swept]));
    assert!(shared(&running.intent) && states(&running.intent.services[0])[2] == 1);
    let swept = running.swept();
    running.step(72, &[swept]);
    assert!(shared(&running.intent) && states(&running.intent.services[0])[2] == 0);
}

#[test]
fn windows_go_on_under_another_configuration() {
    let mut running = Running::new(two());
    running.check(10, 0..1, MISS);
    let before = Arc::clone(&running.intent);
    let mut config = two();
    config.clusters[0].drain = at(7);
    running.state = running.state.succeed(&config, at(20)).expect("ids");
    assert!(running.state.sweep().is_none(), "no plan yet");
    assert!(running.step(21, &[]), "all is known");
    assert_eq!(running.intent.clusters[0], before.clusters[0]);
    assert_eq!(running.state.deadline(), Some(at(10 + DRAIN)), "the limit of when it opened");
}

/// What was refused is not tried again and again because some window's time has come.
#[test]
fn a_window_is_no_reason_to_be_refused_twice() {
    let mut running = Running::new(two());
    running.check(10, 0..1, MISS);
    running.state.running.as_mut().expect("a plan").decision.groups[0].healthy = false;
    let refused = running.state.publish(at(10 + DRAIN));
    assert!(matches!(&refused[..], [Effect::Refused(_)]), "{refused:?}");
    assert_eq!(running.state.deadline(), None);
    assert_eq!(running.state.view().published, Some(&running.intent));
    // What is in force is still what is known.
    let tracks = running.state.view().tracks;
    assert_eq!(tracks.ends(), Some(at(10 + DRAIN)));
}
