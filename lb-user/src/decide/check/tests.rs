//! Each kind of violation is found when an intent is broken on purpose, and none in sound ones.

use super::*;
use crate::{
    config::{BackupMode, Panic, Service},
    decide::{
        State, View,
        moved::Tracks,
        tests::fixture::{Bench, service, six_clusters, started_with},
    },
};

// Ids of the fixture. Clusters A B C X Y Z; nodes a1..a4 = 0..4, b 4..7, c 7..9, x 9..12.
const A: u16 = 0;
const B: u16 = 1;
const X: u16 = 3;
const Z: u16 = 5;
const ALL_A: u16 = 6;

/// What is found in the intent of the fixture while these are down, once it is broken.
fn found(
    down: &str,
    change: impl Fn(&mut Service),
    damage: impl Fn(&mut Intent),
) -> Vec<Violation> {
    let mut config = six_clusters();
    let mut web = service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z");
    change(&mut web);
    // A second tier of nodes in B, for those of lower priority.
    config.clusters[usize::from(B)].nodes[2].priority = 0;
    config.services.push(web);
    let mut bench = Bench::new(config);
    let decision = bench.down(down);
    let state = state(&bench.model);
    let mut intent = intent(&state, &decision);
    damage(&mut intent);
    let facts = facts(&state, &decision);
    let mut checker = Checker::default();
    let found = checker.check(&facts, &intent);
    assert_eq!(checker.check(&facts, &intent), found, "also from memory");
    found
}

/// A daemon that knows the way to every node.
fn state(model: &Arc<Model>) -> State {
    started_with(Arc::clone(model), std::time::Duration::ZERO)
}

fn facts<'a>(state: &'a State, decision: &'a Decision) -> Facts<'a> {
    let View { model, hops, host, .. } = state.view();
    Facts { model, hops, host, decision }
}

/// A decision's first tables.
fn intent(state: &State, decision: &Decision) -> Intent {
    let view = state.view();
    let tracks = Tracks::default().advance(view.model, decision, std::time::Duration::ZERO);
    Intent::new(&view, decision, &tracks)
}

/// Replaces in a table every slot of one member by another slot.
fn replace(table: &mut Table, from: Slot, to: Slot) {
    let slots = table.slots.iter().map(|&slot| if slot == from { to } else { slot });
    table.slots = slots.collect();
}

const NONE: u16 = Slot::NO_MEMBER;

fn slot(member: u16) -> Slot {
    if member == NONE { Slot::NONE } else { Slot::clean(member) }
}

/// Down; in the service's table, which member is replaced by which; what must be found.
#[test]
fn service_tables() {
    let web = TableId::Service(0);
    let lost = |cluster, slots| Violation::LostHome { service: 0, cluster, slots };
    let cases: &[(&str, u16, u16, &[Violation])] = &[
        ("", A, A, &[]),
        ("A", X, X, &[]),
        ("A X Y Z", B, B, &[]),
        ("A B C X Y Z", NONE, NONE, &[]),
        ("", A, B, &[lost(0, 2048), Violation::OutOfTurn { service: 0, cluster: 1 }]),
        ("", A, NONE, &[lost(0, 2048), Violation::Dropped { table: web, slots: 2048 }]),
        (
            "",
            A,
            X,
            &[
                lost(0, 2048),
                Violation::OutOfTurn { service: 0, cluster: 3 },
                Violation::StandbyLoaded { service: 0, cluster: 3 },
            ],
        ),
        ("A", X, A, &[Violation::MayNotServe { table: web, member: 0, slots: 1536 }]),
        ("A", X, B, &[Violation::OutOfTurn { service: 0, cluster: 1 }]),
        ("A", X, Z, &[Violation::LowerTier { table: web, member: 5 }]),
        ("A", X, NONE, &[Violation::Dropped { table: web, slots: 1536 }]),
        ("A", X, 77, &[Violation::Foreign { table: web, slots: 1536 }]),
        ("A X Y", Z, NONE, &[Violation::Dropped { table: web, slots: 2048 }]),
    ];
    for &(down, from, to, violations) in cases {
        let found = found(down, |_| (), |i| replace(&mut i.services[0], slot(from), slot(to)));
        for violation in violations {
            assert!(found.contains(violation), "{down}: {from} to {to}: {found:?}");
        }
        assert_eq!(found.is_empty(), violations.is_empty(), "{down}: {from} to {to}: {found:?}");
    }
}

/// Down; the cluster; which node is replaced by which; what must be found.
#[test]
fn node_tables() {
    let a = TableId::Cluster(0);
    let b = TableId::Cluster(1);
    let foreign = |slots| Violation::Foreign { table: a, slots };
    let cases: &[(&str, usize, u16, u16, Option<Violation>)] = &[
        ("a01", 0, 1, 1, None),
        ("a01", 0, 1, 0, Some(Violation::MayNotServe { table: a, member: 0, slots: 1023 })),
        ("", 0, 3, 4, Some(foreign(205))),
        ("", 0, 3, 4095, Some(foreign(205))),
        ("", 0, 3, NONE, Some(Violation::Dropped { table: a, slots: 205 })),
        ("", 1, 4, 6, Some(Violation::LowerTier { table: b, member: 6 })),
    ];
    for &(down, cluster, from, to, violation) in cases {
        let damage = |i: &mut Intent| replace(&mut i.clusters[cluster], slot(from), slot(to));
        let found = found(down, |_| (), damage);
        assert_eq!(found, Vec::from_iter(violation), "{down}: {from} to {to}");
    }
}

#[test]
fn a_panic_to_all_uses_tables_that_ignore_health_and_no_other_regime_does() {
    let all = |service: &mut Service| service.panic = Panic::All;
    let swap = |from, to| move |i: &mut Intent| replace(&mut i.services[0], slot(from), slot(to));
    assert_eq!(found("A B C X Y Z", all, |_| ()), []);
    let foreign = Violation::Foreign { table: TableId::Service(0), slots: 2048 };
    assert_eq!(found("A B C X Y Z", all, swap(ALL_A, A)), [foreign]);
    assert_eq!(found("", all, swap(A, ALL_A)), [foreign]);
    let down =
        |i: &mut Intent| i.clusters[0].slots = Arc::clone(&i.clusters[usize::from(ALL_A)].slots);
    let found = found("A B C X Y Z", all, down);
    assert_eq!(found.len(), 4, "every node of A: {found:?}");
}

fn shorten<T>(list: &mut Vec<T>) {
    list.truncate(list.len() - 1);
}

#[test]
fn everything_else() {
    let first = |found: Vec<Violation>| found.first().copied();
    let damaged = |damage: &dyn Fn(&mut Intent)| first(found("a01 a02 a03", |_| (), damage));
    let (web, a) = (TableId::Service(0), TableId::Cluster(0));
    assert_eq!(damaged(&|_| ()), None);
    let missing = |list, must_be| Some(Violation::Length { list, is: must_be - 1, must_be });
    assert_eq!(damaged(&|i| shorten(&mut i.clusters)), missing(List::Clusters, 6));
    assert_eq!(damaged(&|i| shorten(&mut i.cluster_info)), missing(List::Clusters, 6));
    assert_eq!(damaged(&|i| shorten(&mut i.services)), missing(List::Services, 1));
    assert_eq!(damaged(&|i| shorten(&mut i.service_info)), missing(List::Services, 1));
    assert_eq!(damaged(&|i| shorten(&mut i.nodes)), missing(List::Nodes, 16));
    assert_eq!(damaged(&|i| shorten(&mut i.node_info)), missing(List::Nodes, 16));
    assert_eq!(damaged(&|i| shorten(&mut i.vips)), missing(List::Vips, 1));
    let no_service = |i: &mut Intent| {
        i.vips[0].service = lb_common::ServiceId::new(3).expect("an id");
    };
    assert_eq!(damaged(&no_service), Some(Violation::Vip { entry: 0 }));
    let short = |t: &mut Table| t.slots = t.slots[..t.slots.len() / 2].into();
    let size = |table, slots| Some(Violation::TableSize { table, slots });
    assert_eq!(damaged(&|i| short(&mut i.clusters[0])), size(a, 1024));
    assert_eq!(damaged(&|i| short(&mut i.services[0])), size(web, 2048));
    let double = |t: &mut Table| t.slots = t.slots.iter().flat_map(|&s| [s, s]).collect();
    assert_eq!(damaged(&|i| double(&mut i.clusters[0])), size(a, 4096));
    let settle = |t: &mut Table| {
        double(t);
        t.slots = t.slots.iter().map(|slot| slot.in_state(SlotState::Residue)).collect();
    };
    assert_eq!(damaged(&|i| settle(&mut i.clusters[0])), None, "it was larger");
    assert_eq!(damaged(&|i| settle(&mut i.services[0])), None, "it was larger");
    let swap = |t: &mut Table| {
        let mut slots = t.slots.to_vec();
        let other = slots.iter().position(|slot| *slot != slots[0]).expect("another owner");
        slots.swap(0, other);
        t.slots = slots.into();
    };
    let undecided = |table, slots| Some(Violation::Undecided { table, slots });
    assert_eq!(damaged(&|i| swap(&mut i.clusters[1])), undecided(TableId::Cluster(1), 2));
    let one_more = |t: &mut Table| {
        t.slots = t.slots.iter().copied().chain([t.slots[0]]).collect();
    };
    assert_eq!(damaged(&|i| one_more(&mut i.clusters[0])), size(a, 2049));
    let stir = |t: &mut Table| {
        t.slots = t.slots.iter().map(|slot| Slot::from_raw(slot.raw() | 1 << 14)).collect();
    };
    let base = |table| Some(Violation::Base { table });
    assert_eq!(damaged(&|i| stir(&mut i.clusters[0])), base(a), "no base table");
    assert_eq!(damaged(&|i| stir(&mut i.services[0])), base(web), "no base table");
    let with_base =
        |slot: Slot| move |t: &mut Table| t.base = Some(vec![slot; t.slots.len()].into());
    for member in [0, NONE] {
        assert_eq!(damaged(&|i| with_base(slot(member))(&mut i.clusters[0])), base(a), "at rest");
    }
    let stir_to = |table: fn(&mut Intent) -> &mut Table, member| {
        damaged(&|i| {
            stir(table(i));
            with_base(slot(member))(table(i));
        })
    };
    assert_eq!(stir_to(|i| &mut i.clusters[0], 0), None, "a dead node may be the base");
    assert_eq!(stir_to(|i| &mut i.clusters[0], NONE), None, "or nobody");
    assert_eq!(stir_to(|i| &mut i.clusters[0], 4), base(a), "of another cluster");
    assert_eq!(stir_to(|i| &mut i.clusters[0], 3), base(a), "the owner itself");
    assert_eq!(stir_to(|i| &mut i.services[0], A), None);
    assert_eq!(stir_to(|i| &mut i.services[0], B), base(web), "the owner itself");
    assert_eq!(stir_to(|i| &mut i.services[0], 77), base(web));
    let group = Some(Violation::WrongGroup { cluster: 0 });
    assert_eq!(damaged(&|i| i.clusters[0].healthy = true), group);
    assert_eq!(damaged(&|i| i.clusters[0].held = true), group);
    assert_eq!(damaged(&|i| i.cluster_info[0].alive += 1), group);
    assert_eq!(damaged(&|i| i.cluster_info[0].healthy = 1), group);
    let record = Some(Violation::NodeRecord { node: 0 });
    assert_eq!(damaged(&|i| i.nodes[0].up = 1), record);
    assert_eq!(damaged(&|i| i.nodes[0].address[15] ^= 1), record);
    assert_eq!(damaged(&|i| i.nodes[0].forward = 0), record);
    assert_eq!(damaged(&|i| i.nodes[0].v6 = 9), record);
}

/// The group itself may be wrong, and consistently so.
#[test]
fn a_group_that_the_nodes_contradict() {
    let mut config = six_clusters();
    config.services.push(service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z"));
    let mut bench = Bench::new(config);
    for (down, lie) in [("a01 a02 a03", true), ("a01 a02", false), ("A", true)] {
        let truth = bench.down(down);
        let mut groups = truth.groups.clone();
        groups[0].healthy = lie;
        let decision = bench.planner.decide(&truth.nodes, &groups, None);
        let state = state(&bench.model);
        let intent = intent(&state, &decision);
        let facts = facts(&state, &decision);
        let found = Checker::default().check(&facts, &intent);
        assert_eq!(found, [Violation::WrongGroup { cluster: 0 }], "{down}");
    }
}

#[test]
fn who_may_serve_but_not_these_flows() {
    let drop_all = |service: &mut Service| service.fallback = crate::config::Fallback::Drop;
    let to_b = |i: &mut Intent| replace(&mut i.services[0], slot(X), slot(B));
    let found = found("A", drop_all, to_b);
    assert_eq!(found, [Violation::OutOfTurn { service: 0, cluster: 1 }], "a master carries");

    let mut config = six_clusters();
    config.services.push(service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z"));
    let mut bench = Bench::new(config);
    let all = bench.down("");
    let mut groups = all.groups.clone();
    groups[usize::from(A)].held = true;
    let decision = bench.planner.decide(&all.nodes, &groups, None);
    let state = state(&bench.model);
    let mut intent = intent(&state, &decision);
    let facts = facts(&state, &decision);
    assert_eq!(Checker::default().check(&facts, &intent), []);
    replace(&mut intent.services[0], slot(X), slot(A));
    let found = Checker::default().check(&facts, &intent);
    assert_eq!(found, [Violation::OutOfTurn { service: 0, cluster: 0 }], "it is held back");
}

/// What is shown is right, and what the plan was made from is not.
#[test]
fn a_count_that_the_nodes_contradict() {
    let mut config = six_clusters();
    config.services.push(service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z"));
    let mut bench = Bench::new(config);
    let truth = bench.down("a01");
    let state = state(&bench.model);
    let intent = intent(&state, &truth);
    let mut decision = truth.clone();
    decision.groups[0].count.alive = 4;
    let facts = facts(&state, &decision);
    let found = Checker::default().check(&facts, &intent);
    assert_eq!(found, [Violation::WrongGroup { cluster: 0 }]);
}
