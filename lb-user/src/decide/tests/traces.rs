//! Random configurations and random events, batch by batch against the reference.

use std::{sync::Arc, time::Duration};

use lb_common::{ClusterId, NodeId, Slot};

use super::{
    fixture::{checked, cluster, config, percent, service, started_with},
    reference::{Eligible, World},
};
use crate::{
    config::{
        BackupMode, Balance, Config, Failback, Fallback, Health, Member, Panic, Service, Threshold,
    },
    decide::{
        Admin, Decision, Effect, Event, Intent, MissReason, Model, Outcome, Planner, State,
        TargetId, share::moved,
    },
};

/// A fixed sequence of numbers that look random (Marsaglia's xorshift64).
pub(in crate::decide) struct Dice(pub(in crate::decide) u64);

impl Dice {
    pub(in crate::decide) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(end)) as u32
    }

    pub(in crate::decide) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}

pub(in crate::decide) fn random_config(dice: &mut Dice) -> Config {
    let most = if dice.one_in(25) { 11 } else { 4 };
    let clusters = (0..2 + dice.below(most)).map(|i| {
        let nodes = 1 + if dice.one_in(25) { dice.below(12) } else { dice.below(5) };
        let mut weights: Vec<u32> = (0..nodes).map(|_| 1 + dice.below(10)).collect();
        if weights.len() > 1 && dice.one_in(6) {
            weights[0] = 0;
        }
        let threshold = match dice.one_in(3) {
            true => Threshold::Survivors(1 + dice.below(weights.len() as u32)),
            false => percent(dice.below(101).into()),
        };
        let mut cluster = cluster(&format!("C{i:02}"), dice.below(10) + 1, threshold, &weights);
        cluster.priority = dice.below(3);
        if dice.one_in(3) {
            cluster.recover_at = Some(percent(u64::from(50 + dice.below(51))));
        }
        let wait = Duration::from_secs(1 + u64::from(dice.below(10)));
        let timed = Failback::After { wait, max: wait * 4 };
        cluster.drain = Duration::from_secs(u64::from(dice.below(3)) * 8);
        cluster.failback = dice.pick(&[Failback::Auto, Failback::Auto, timed, Failback::Manual]);
        if dice.one_in(4) {
            let last = cluster.nodes.len() - 1;
            cluster.nodes[last].priority = 2;
        }
        (cluster.health.fall, cluster.health.rise) = (1 + dice.below(3), 1 + dice.below(3));
        cluster
    });
    let mut config = config(clusters.collect());
    // Some clusters are asked on the port of each service, and some services ask in their own way.
    for cluster in config.clusters.iter_mut().filter(|_| dice.one_in(4)) {
        cluster.health.port = None;
    }
    for cluster in &mut config.clusters {
        cluster.min_services = if dice.one_in(4) { 1 + dice.below(3) } else { 0 };
    }
    let names: &[&str] = if dice.one_in(3) { &["one", "three", "two"] } else { &["one", "two"] };
    for name in names {
        let mut service = random_service(dice, &config, name);
        if dice.one_in(4) {
            let fall = 1 + dice.below(3);
            service.health = Some(Health { fall, ..config.clusters[0].health.clone() });
        }
        config.services.push(service);
    }
    config
}

fn random_service(dice: &mut Dice, config: &Config, name: &str) -> Service {
    let count = config.clusters.len();
    let modes: &[BackupMode] = match count {
        2..4 => &[BackupMode::None, BackupMode::OneStandby, BackupMode::MultiMaster],
        _ => &[
            BackupMode::None,
            BackupMode::OneStandby,
            BackupMode::MultiMaster,
            BackupMode::MultiStandby,
            BackupMode::MultiStandby,
        ],
    };
    let mut service = service(config, name, dice.pick(modes), "", "");
    let mut members: Vec<Member> = (0..count)
        .map(|cluster| Member {
            cluster,
            weight: if dice.one_in(8) { 0 } else { 1 + dice.below(10) },
            priority: config.clusters[cluster].priority,
            port: None,
            leaving: false,
        })
        .collect();
    members.rotate_left(dice.below(count as u32) as usize);
    let standbys = match service.mode {
        BackupMode::None | BackupMode::MultiMaster => 0,
        BackupMode::OneStandby => 1,
        BackupMode::MultiStandby => 2 + dice.below(count as u32 - 3) as usize,
    };
    service.standbys = members.split_off(count - standbys);
    service.masters = members;
    service.masters[0].weight = 5;
    service.balance = dice.pick(&[Balance::Weight, Balance::Weight, Balance::Equal]);
    service.fallback = dice.pick(&[Fallback::Masters, Fallback::LastResort, Fallback::Drop]);
    service.panic = dice.pick(&[Panic::Alive, Panic::Alive, Panic::Drop, Panic::All]);
    service
}

pub(in crate::decide) fn random_events(dice: &mut Dice, model: &Model) -> Vec<Event> {
    let (config, mut events) = (&model.config, Vec::new());
    let nodes = model.nodes.len();
    let targets = model.pools.targets.len() as u32;
    for _ in 0..dice.below(5) {
        let target = TargetId(dice.below(targets));
        let miss = Outcome::Miss(dice.pick(&[MissReason::Timeout, MissReason::Refused]));
        let outcome = dice.pick(&[Outcome::Hit, miss, miss, Outcome::NotWorking]);
        let times = 1 + dice.below(3);
        events.extend((0..times).map(|_| Event::Checked { target, outcome }));
        if dice.one_in(10) {
            let node = NodeId::new(dice.below(nodes as u32) as usize).expect("an id");
            let admin = dice.pick(&[Admin::InService, Admin::Drained, Admin::Maintenance]);
            events.push(Event::Administer { node, admin });
        }
        if dice.one_in(15) {
            let cluster = dice.below(config.clusters.len() as u32) as usize;
            let admin = dice.pick(&[Admin::InService, Admin::Drained, Admin::Maintenance]);
            events.push(Event::AdministerCluster { cluster, admin });
        }
    }
    // Everything that belongs together goes at once.
    if dice.one_in(3) {
        let of = dice.below(config.clusters.len() as u32) as usize;
        let outcome = dice.pick(&[Outcome::Hit, Outcome::Miss(MissReason::Unreachable)]);
        for node in model.nodes_of(of) {
            (0..3).for_each(|_| events.extend(checked(model, node, outcome)));
        }
    }
    if dice.one_in(8) {
        let pool = dice.below(model.pools.pools.len() as u32) as usize;
        events.push(Event::Release(ClusterId::new(pool).expect("an id")));
    }
    events
}

/// What is published is what the reference says, slot counts against exact fractions.
fn compare(world: &World<'_>, model: &Model, intent: &Intent, place: &str) {
    for (id, service) in model.config.services.iter().enumerate() {
        let (shares, dropped) = world.cluster_shares(service);
        let slots = &intent.services[id].slots;
        let mut counts = vec![0u64; shares.len() + 1];
        for slot in slots.iter() {
            let cluster = slot.member().map(|c| model.cluster_of(c.into()).expect("a cluster"));
            counts[cluster.unwrap_or(shares.len())] += 1;
        }
        let all = shares.iter().chain([&dropped]);
        for (i, (share, &count)) in all.zip(&counts).enumerate() {
            let near = share.is_near(count, slots.len() as u64);
            assert!(near, "{place}: {service:?}: cluster {i}: {count}, not {share:?}");
        }
        let all_panic = world.panics(service) && service.panic == Panic::All;
        let uses_all = slots
            .iter()
            .any(|s| s.member().is_some_and(|c| usize::from(c) >= model.pools.pools.len()));
        assert!(all_panic || !uses_all, "{place}");
    }
    for (id, table) in intent.clusters.iter().enumerate() {
        let cluster = model.cluster_of(id).expect("a cluster");
        let ignores = id >= model.pools.pools.len();
        let pool = if ignores { model.pools_of(cluster).start } else { id };
        let view = world.view_of(model, pool);
        let mut counts = vec![0u64; model.nodes.len()];
        for node in table.slots.iter().filter_map(|slot| slot.member()) {
            counts[usize::from(node)] += 1;
        }
        for (node, share) in world.node_shares(view, ignores) {
            let count = std::mem::take(&mut counts[node]);
            let near = share.is_near(count, table.slots.len() as u64);
            assert!(near, "{place}: node {node} of {id}: {count}, not {share:?}");
        }
        assert!(counts.iter().all(|count| *count == 0), "{place}: strangers in {id}");
        let group = &world.views[view].group;
        let info = &intent.cluster_info[id];
        assert_eq!((table.healthy, table.held), (group.healthy, group.held.is_some()), "{place}");
        assert_eq!((info.alive, info.total), (group.alive, group.total), "{place}");
    }
    for (node, record) in intent.nodes.iter().enumerate() {
        assert_eq!(record.up, u8::from(world.up(node)), "{place}: node {node}");
    }
}

/// Tables of one cluster in which the same nodes may get flows are one.
fn equal_tables_are_shared(model: &Model, decision: &Decision, place: &str) {
    for (id, table) in decision.clusters.iter().enumerate() {
        let others = decision.clusters.iter().enumerate().skip(id + 1);
        let alike = others.filter(|(other, known)| {
            known.eligible == table.eligible && model.cluster_of(*other) == model.cluster_of(id)
        });
        for (other, known) in alike {
            assert!(Arc::ptr_eq(&known.slots, &table.slots), "{place}: tables {id} and {other}");
        }
    }
}

/// T8 once more, from the intents and the reference alone: no slot leaves an owner that may still
/// serve for one that might have served before.
fn nothing_moves_in_vain(model: &Model, sides: [(&Intent, &Eligible); 2], place: &str) {
    let [(old, before), (new, after)] = sides;
    let cluster = |slot: Slot| model.cluster_of(usize::from(slot.member()?));
    for (service, (old, new)) in old.services.iter().zip(&new.services).enumerate() {
        if Arc::ptr_eq(&old.slots, &new.slots) {
            continue;
        }
        for (&old, &new) in old.slots.iter().zip(new.slots.iter()) {
            if let (Some(old), Some(new)) = (cluster(old), cluster(new)) {
                let in_vain = after.clusters[service][old] && before.clusters[service][new];
                assert!(old == new || !in_vain, "{place}: {old} to {new}");
            }
        }
    }
    let pools = before.nodes.iter().zip(&after.nodes);
    for ((old, new), (before, after)) in old.clusters.iter().zip(&new.clusters).zip(pools) {
        if Arc::ptr_eq(&old.slots, &new.slots) {
            continue;
        }
        for (old, new) in old.slots.iter().zip(new.slots.iter()) {
            if let (Some(old), Some(new)) = (old.member(), new.member()) {
                let in_vain = after[usize::from(old)] && before[usize::from(new)];
                assert!(old == new || !in_vain, "{place}: node {old} to {new}");
            }
        }
    }
}

/// Whatever happened, once everything is well again all flows are where they first were.
fn all_comes_back(state: &mut State, steady: &Decision, mut now: Duration) {
    let node = |n| NodeId::new(n).expect("an id");
    let clusters = 0..state.model.config.clusters.len();
    let admin = Admin::InService;
    let clusters = clusters.map(|cluster| Event::AdministerCluster { cluster, admin });
    let mut events: Vec<Event> = clusters.collect();
    for id in 0..state.model.nodes.len() {
        events.push(Event::Administer { node: node(id), admin: Admin::InService });
        (0..3).for_each(|_| events.extend(checked(state.view().model, id, Outcome::Hit)));
    }
    state.step(now, &events);
    let release = |c| Event::Release(ClusterId::new(c).expect("an id"));
    state.step(now, &(0..steady.groups.len()).map(release).collect::<Vec<_>>());
    while let Some(deadline) = state.deadline() {
        assert!(deadline > now);
        now = deadline;
        state.step(now, &[]);
    }
    let view = state.view();
    let is = view.decision.expect("a decision");
    assert_eq!((&is.services, &is.clusters), (&steady.services, &steady.clusters));
}

/// Runs a trace; returns how many plans it published.
fn run(dice: &mut Dice, model: &Arc<Model>, steady: &Decision, place: &str) -> u32 {
    let config = &model.config;
    let mut now = Duration::from_secs(1000);
    let mut state = started_with(Arc::clone(model), now);
    let mut world = World::new(config, now);
    let mut plans = 0;
    let mut before: Option<(Decision, Arc<Intent>, Eligible)> = None;
    let mut intent: Option<Arc<Intent>> = None;
    let targets = model.pools.targets.len() as u32;
    for batch in 0..12 {
        let mut events = random_events(dice, model);
        if batch == 0 && !dice.one_in(4) {
            let hit = |n| Event::Checked { target: TargetId(n), outcome: Outcome::Hit };
            events.splice(0..0, (0..targets).map(hit));
        }
        now += Duration::from_millis(dice.pick(&[1, 500, 1000, 5000, 20_000]));
        world.step(model, now, &events);
        for effect in state.step(now, &events) {
            match effect {
                Effect::Publish(new) => intent = Some(new),
                Effect::Refused(violations) => panic!("{place}, {batch}: {violations:?}"),
                Effect::Notice(_) => continue,
            }
            plans += 1;
        }
        let place = format!("{place}, batch {batch}");
        assert_eq!(intent.is_some(), world.started, "{place}");
        let (Some(intent), Some(after)) = (&intent, state.view().decision) else { continue };
        compare(&world, model, intent, &place);
        equal_tables_are_shared(model, after, &place);
        let eligible = world.eligible(model);
        if let Some((decision, intent_before, eligible_before)) = &before {
            for service in 0..config.services.len() {
                assert_eq!(moved(model, decision, after, service).extra.of, 0, "{place}");
            }
            let sides = [(&**intent_before, eligible_before), (&**intent, &eligible)];
            nothing_moves_in_vain(model, sides, &place);
        }
        before = Some((after.clone(), Arc::clone(intent), eligible));
    }
    all_comes_back(&mut state, steady, now);
    plans
}

#[test]
fn ten_thousand_random_traces() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let traces = if cfg!(debug_assertions) { 300 } else { 10_000 };
    let mut plans = 0;
    for trace in (0..traces).step_by(4) {
        let seed = dice.0;
        let config = random_config(&mut dice);
        let model = Arc::new(Model::new(Arc::new(config)));
        let steady = Planner::new(Arc::clone(&model)).decide_down(|_| false);
        for run in 0..4 {
            let place = format!("trace {} (of seed {seed:#x})", trace + run);
            plans += self::run(&mut dice, &model, &steady, &place);
        }
    }
    println!("{plans} plans in {traces} traces");
    assert!(plans > 3 * traces, "the traces hardly do anything");
}
