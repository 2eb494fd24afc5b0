//! What is said about a decision is what its tables do.

use std::sync::Arc;

use lb_common::FlowHash;

use super::fixture::{Bench, service, six_clusters};
use crate::{
    config::{BackupMode, Fallback, Panic, Service},
    decide::{
        Notice, Regime, Violation,
        check::TableId,
        flow::follow,
        group::Count,
        reason::{Standing, explain_notice, explain_seat, explain_violation, standing},
        share::{moved, shares},
    },
};

fn bench(change: impl Fn(&mut Service)) -> Bench {
    let mut config = six_clusters();
    let mut web = service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z");
    change(&mut web);
    config.services.push(web);
    Bench::new(config)
}

const DOWNS: [&str; 5] = ["", "a01 b02", "A x01 x02", "A X Y Z", "a01 a02 a03 B C X Y Z"];

#[test]
fn shares_are_counted_from_the_slots() {
    for panic in [Panic::Alive, Panic::Drop] {
        let mut bench = bench(|service| {
            (service.panic, service.fallback) = (panic, Fallback::Drop);
        });
        for down in DOWNS {
            let decision = bench.down(down);
            let shares = shares(&bench.model, &decision, 0);
            let near = |a: f64, name: &str| {
                let b = bench.share(&decision, name);
                assert!((100.0 * a - b).abs() < 1e-9, "{down}: {name}: {a}, not {b}");
            };
            for (name, part) in ["A", "B", "C", "X", "Y", "Z"].iter().zip(&shares.seats) {
                near(part.fraction(), name);
            }
            near(shares.dropped, "-");
            for (node, part) in &shares.nodes {
                near(part.fraction(), &bench.model.node(*node).name);
            }
            let homes: Vec<u64> = shares.home.iter().map(|part| part.of).collect();
            assert_eq!(homes, [2048, 1229, 819, 0, 0, 0]);
            let sum: f64 = shares.nodes.iter().map(|(_, part)| part.fraction()).sum();
            assert!((sum + shares.dropped - 1.0).abs() < 1e-9, "{down}");
        }
    }
}

#[test]
fn a_flow_is_followed_to_where_the_tables_send_it() {
    let mut bench = bench(|service| service.fallback = Fallback::Drop);
    let hashes = (0..200u64).map(|i| FlowHash(lb_common::hash::mix(i)));
    for down in DOWNS {
        let decision = bench.down(down);
        for hash in hashes.clone() {
            let path = follow(&bench.model, &decision, 0, hash);
            let deal = &decision.services[0].deal;
            let cluster = deal.slots[path.slot as usize].member().map(usize::from);
            let carrier = path.carrier.map(|seat| bench.model.seats(0)[seat].cluster);
            assert_eq!((path.slot, carrier), (hash.service_slot(12), cluster), "{down}");
            let home = bench.model.service_order(0).home()[path.slot as usize];
            let first = path.passed.first().map_or(path.carrier, |(seat, _)| Some(*seat));
            assert_eq!(first, Some(usize::from(home)), "{down}");
            let idle = |s: &Standing| matches!(s, Standing::Serves { .. } | Standing::Idle);
            assert!(!path.passed.iter().any(|(_, standing)| idle(standing)), "{path:?}");
            let Some(cluster) = cluster else {
                assert_eq!((path.node, path.table), (None, None));
                continue;
            };
            let slots = &decision.clusters[cluster].slots;
            let slot = hash.node_slot(slots.len().trailing_zeros());
            let node = slots[slot as usize].member().map(usize::from);
            assert_eq!((path.node_slot, path.node), (Some(slot), node), "{down}");
            assert!(path.nodes_passed.iter().all(|(_, health)| !health.eligible), "{path:?}");
        }
    }
}

/// A plan that moves flows in vain is found out, to the slot.
#[test]
fn moves_in_vain_are_counted() {
    let mut bench = bench(|_| ());
    let before = bench.down("C");
    let mut after = bench.down("C");
    let deal = Arc::get_mut(&mut after.services[0].deal).map(|_| ());
    assert_eq!(deal, None, "equal deals are shared");
    let plan = &mut after.services[0];
    let mut owners = plan.deal.owners.clone();
    let turned = owners.iter_mut().filter(|owner| **owner == 0).take(100);
    turned.for_each(|owner| *owner = 1);
    plan.deal = Arc::new(crate::decide::plan::Deal {
        owners,
        slots: Arc::clone(&plan.deal.slots),
        flows: plan.deal.flows.clone(),
    });
    let result = moved(&bench.model, &before, &after, 0);
    let scale = result.moved.all / 4096;
    assert_eq!((result.moved.of, result.extra.of), (100 * scale, 100 * scale));

    // Within a cluster: A's table turns over between two of its nodes that live in both.
    let mut after = bench.down("C");
    let slots = after.clusters[0].slots.iter().map(|&slot| match slot.member() {
        Some(3) => lb_common::Slot::clean(2),
        _ => slot,
    });
    after.clusters[0].slots = slots.collect();
    let result = moved(&bench.model, &before, &after, 0);
    assert_eq!(result.moved, result.extra);
    assert_eq!(result.moved.of, 2048 * 205 * (scale / 2048));

    // Slots that nobody serves any more, although their owner might.
    let mut after = bench.down("C");
    let plan = &mut after.services[0];
    plan.deal = Arc::new(crate::decide::plan::Deal {
        owners: plan.deal.owners.iter().map(|&o| if o == 1 { u16::MAX } else { o }).collect(),
        slots: Arc::clone(&plan.deal.slots),
        flows: plan.deal.flows.clone(),
    });
    let result = moved(&bench.model, &before, &after, 0);
    assert_eq!((result.moved.of, result.extra.of), (1229 * scale, 1229 * scale));
}

#[test]
fn every_standing_has_its_sentence() {
    let a = |down: &'static str, seat: usize, standing, sentence: &'static str| {
        (down, seat, standing, sentence)
    };
    let serves = |own, carries| Standing::Serves { own, carries };
    let cases = [
        a("", 0, serves(true, 0), "healthy, 4 of 4 alive: serves its own flows"),
        a("", 3, Standing::Idle, "healthy, 3 of 3 alive: stands by"),
        a("A", 3, serves(false, 1), "healthy, 3 of 3 alive: carries the flows of A"),
        a("A", 5, Standing::LowerTier, "healthy, 2 of 2 alive: waits behind a higher priority"),
        a(
            "a01 a02 a03",
            0,
            Standing::Unhealthy { alive: 1, needed: 2 },
            "unhealthy, 1 of 4 alive, needs 2: may not serve; its flows go to X, Y",
        ),
        a(
            "A X Y Z",
            1,
            serves(true, 1),
            "healthy, 3 of 3 alive: serves its own flows and those of A",
        ),
        a(
            "a01 a02 a03 B C X Y Z",
            0,
            serves(true, 2),
            "unhealthy, 1 of 4 alive, needs 2: serves its own flows and those of B, C, in panic",
        ),
    ];
    let mut bench = bench(|_| ());
    for (down, seat, value, sentence) in cases {
        let decision = bench.down(down);
        assert_eq!(standing(&bench.model, &decision, 0, seat), value, "{down}");
        assert_eq!(explain_seat(&bench.model, &decision, 0, seat), sentence, "{down}");
    }
    let mut drops = self::bench(|service| {
        (service.panic, service.fallback) = (Panic::Drop, Fallback::Drop);
        service.masters[2].weight = 0;
    });
    for (down, seat, sentence) in [
        ("A X Y Z", 0, "unhealthy, 0 of 4 alive, needs 2: may not serve; its flows are dropped"),
        (
            "A B C X Y Z",
            1,
            "unhealthy, 0 of 3 alive, needs 2: drops, in panic; its flows are dropped",
        ),
        ("", 2, "healthy, 2 of 2 alive: has weight 0"),
    ] {
        let decision = drops.down(down);
        assert_eq!(explain_seat(&drops.model, &decision, 0, seat), sentence, "{down}");
    }
}

#[test]
fn notices_and_violations_have_sentences() {
    let bench = bench(|_| ());
    let cluster = |i| lb_common::ClusterId::new(i).expect("an id");
    let web = lb_common::ServiceId::new(0).expect("an id");
    let carried = |by, dropped| Notice::Carried { service: web, master: cluster(0), by, dropped };
    let count = Count { alive: 1, total: 4 };
    for (notice, sentence) in [
        (
            Notice::ClusterUnhealthy { cluster: cluster(0), count, services: None },
            "cluster A is unhealthy: 1 of 4 alive, needs 2",
        ),
        (
            carried(vec![(cluster(3), 9), (cluster(4), 9)], 0),
            "service web: X, Y serve the flows of A",
        ),
        (carried(vec![(cluster(0), 9)], 0), "service web: A serves its own flows"),
        (carried(vec![], 9), "service web: nobody serves the flows of A"),
        (
            Notice::Regime { service: web, regime: Regime::Panic(Panic::Drop) },
            "service web: panic: no cluster is healthy, packets are dropped",
        ),
    ] {
        assert_eq!(explain_notice(&bench.model, &notice), sentence);
    }
    let table = TableId::Cluster(0);
    let violation = Violation::MayNotServe { table, member: 1, slots: 7 };
    let sentence = "table of cluster A: 7 slots go to A/a02, which may not serve";
    assert_eq!(explain_violation(&bench.model, &violation), sentence);
}
