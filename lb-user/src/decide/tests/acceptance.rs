//! The method's worked examples: who is down, and which shares follow.

use super::fixture::{Bench, cluster, config, service, six_clusters};
use crate::{
    config::{BackupMode, Balance, Fallback, Panic, Service, Threshold},
    decide::{Regime, share::moved},
};

/// Who is down, then shares in percent; "-" is what is dropped.
type Case = (&'static str, &'static [(&'static str, f64)]);

fn check_shares(bench: &mut Bench, cases: &[Case]) {
    let steady = bench.down("");
    for (down, shares) in cases {
        let decision = bench.down(down);
        for (name, share) in *shares {
            let is = bench.share(&decision, name);
            assert!((is - share).abs() <= 0.25, "down: {down}; {name}: {is}, not {share}");
            assert!((is == 0.0) == (*share == 0.0), "down: {down}; {name}: {is}, not {share}");
        }
        for (before, after) in [(&steady, &decision), (&decision, &steady)] {
            assert_eq!(moved(&bench.model, before, after, 0).extra.of, 0, "down: {down}");
        }
    }
}

fn run(mode: BackupMode, standbys: &str, change: impl Fn(&mut Service), cases: &[Case]) {
    let mut config = six_clusters();
    let mut service = service(&config, "web", mode, "A B C", standbys);
    change(&mut service);
    config.services.push(service);
    check_shares(&mut Bench::new(config), cases);
}

#[test]
fn multi_standby() {
    let mode = BackupMode::MultiStandby;
    run(
        mode,
        "X Y Z",
        |_| (),
        &[
            ("", &[("A", 50.0), ("B", 30.0), ("C", 20.0), ("X", 0.0), ("Y", 0.0), ("Z", 0.0)]),
            ("", &[("a01", 20.0), ("a02", 15.0), ("a03", 10.0), ("a04", 5.0), ("-", 0.0)]),
            ("a01", &[("a01", 0.0), ("a02", 25.0), ("a03", 16.67), ("a04", 8.33), ("B", 30.0)]),
            ("a01", &[("C", 20.0), ("X", 0.0)]),
            ("a01 a02", &[("a03", 33.33), ("a04", 16.67), ("B", 30.0), ("C", 20.0)]),
            ("a01 a02 a03", &[("A", 0.0), ("a04", 0.0), ("X", 37.5), ("Y", 12.5), ("Z", 0.0)]),
            ("a01 a02 a03", &[("x01", 18.75), ("x02", 9.375), ("x03", 9.375), ("B", 30.0)]),
            ("A X", &[("Y", 50.0), ("X", 0.0), ("Z", 0.0), ("B", 30.0), ("C", 20.0)]),
            ("A x01 x02", &[("Y", 50.0), ("x03", 0.0)]),
            ("A X Y", &[("Z", 50.0), ("B", 30.0), ("C", 20.0)]),
            ("A X Y Z", &[("B", 60.0), ("C", 40.0), ("A", 0.0), ("-", 0.0)]),
            ("A B", &[("C", 20.0), ("X", 60.0), ("Y", 20.0), ("Z", 0.0)]),
            ("A B C", &[("X", 75.0), ("Y", 25.0), ("Z", 0.0), ("-", 0.0)]),
            ("B C X Y Z", &[("A", 100.0)]),
        ],
    );
    run(
        mode,
        "X Y Z",
        |s| s.fallback = Fallback::Drop,
        &[
            ("A X Y Z", &[("B", 30.0), ("C", 20.0), ("-", 50.0)]),
            ("A X Y", &[("Z", 50.0), ("-", 0.0)]),
        ],
    );
    run(
        mode,
        "X Y Z",
        |s| s.balance = Balance::Equal,
        &[
            ("A", &[("X", 25.0), ("Y", 25.0), ("B", 30.0), ("C", 20.0)]),
            ("A X Y Z", &[("B", 60.0), ("C", 40.0)]),
        ],
    );
}

#[test]
fn multi_master() {
    run(
        BackupMode::MultiMaster,
        "",
        |_| (),
        &[
            ("", &[("A", 50.0), ("B", 30.0), ("C", 20.0)]),
            ("A", &[("B", 60.0), ("C", 40.0)]),
            ("A B", &[("C", 100.0)]),
            ("C", &[("A", 62.5), ("B", 37.5)]),
        ],
    );
    run(
        BackupMode::MultiMaster,
        "",
        |s| s.balance = Balance::Equal,
        &[("A", &[("B", 55.0), ("C", 45.0)]), ("A B", &[("C", 100.0)])],
    );
    // B and C are a tier behind A, and C's weight is 0.
    let tiers = |service: &mut Service| {
        (service.masters[1].priority, service.masters[2].priority) = (5, 1);
    };
    run(
        BackupMode::MultiMaster,
        "",
        tiers,
        &[
            ("", &[("A", 100.0), ("B", 0.0), ("C", 0.0)]),
            ("A", &[("B", 100.0), ("C", 0.0)]),
            ("A B", &[("C", 100.0)]),
            ("B", &[("A", 100.0)]),
        ],
    );
    run(
        BackupMode::MultiMaster,
        "",
        |s| s.masters[0].weight = 0,
        &[
            ("", &[("A", 0.0), ("B", 60.0), ("C", 40.0)]),
            ("B C", &[("A", 0.0), ("B", 0.0), ("-", 100.0)]),
        ],
    );
}

#[test]
fn one_standby() {
    run(
        BackupMode::OneStandby,
        "X",
        |_| (),
        &[
            ("A", &[("X", 50.0), ("B", 30.0), ("C", 20.0)]),
            ("A B", &[("X", 80.0), ("C", 20.0)]),
            ("A B C", &[("X", 100.0)]),
            ("A X", &[("B", 60.0), ("C", 40.0)]),
            ("X", &[("A", 50.0), ("B", 30.0), ("C", 20.0)]),
        ],
    );
}

#[test]
fn no_backup() {
    run(BackupMode::None, "", |_| (), &[("A", &[("B", 60.0), ("C", 40.0)])]);
    run(
        BackupMode::None,
        "",
        |s| s.fallback = Fallback::Drop,
        &[("A", &[("B", 30.0), ("C", 20.0), ("-", 50.0)])],
    );
}

#[test]
fn last_resort() {
    // x03 lives, which is too few for X.
    run(
        BackupMode::MultiStandby,
        "X Y Z",
        |s| s.fallback = Fallback::LastResort,
        &[
            ("A x01 x02 Y Z", &[("X", 50.0), ("x03", 50.0), ("B", 30.0), ("C", 20.0)]),
            ("A x01 x02 Y", &[("X", 0.0), ("Z", 50.0)]),
            ("A X Y Z", &[("B", 60.0), ("C", 40.0)]),
            ("x01 x02 Y Z", &[("A", 50.0), ("X", 0.0)]),
        ],
    );
}

#[test]
fn panic_while_no_cluster_is_healthy() {
    // a04, b03 and x03 live, which are too few everywhere.
    let down = "a01 a02 a03 b01 b02 C x01 x02 Y Z";
    let with = |panic| move |service: &mut Service| service.panic = panic;
    run(
        BackupMode::MultiStandby,
        "X Y Z",
        with(Panic::Alive),
        &[
            ("a01 a02 a03 b01 b02 C x01 x02 Y Z", &[("a04", 50.0), ("b03", 30.0), ("x03", 20.0)]),
            ("a01 a02 a03 b01 b02 C X Y Z", &[("a04", 62.5), ("b03", 37.5), ("-", 0.0)]),
            ("a01 a02 a03 b01 C X Y Z", &[("a04", 0.0), ("B", 100.0)]),
            ("A B C X Y Z", &[("-", 100.0)]),
        ],
    );
    run(
        BackupMode::MultiStandby,
        "X Y Z",
        with(Panic::Drop),
        &[("a01 a02 a03 b01 b02 C x01 x02 Y Z", &[("-", 100.0), ("a04", 0.0)])],
    );
    let mut config = six_clusters();
    let mut web = service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z");
    web.panic = Panic::All;
    config.services.push(web);
    let other = service(&config, "zone", BackupMode::None, "A", "");
    config.services.push(other);
    let mut bench = Bench::new(config);
    let decision = bench.down(down);
    assert_eq!(decision.services[0].regime, Regime::Panic(Panic::All));
    let variants = bench.model.pools.variants.iter().map(|variant| variant.cluster);
    assert!(variants.eq([0, 1, 2]));
    let owned = |service: usize, id: u16| {
        let slots = &decision.services[service].deal.slots;
        slots.iter().filter(|slot| slot.member() == Some(id)).count()
    };
    assert_eq!([6, 7, 8].map(|id| owned(0, id)), [2048, 1229, 819]);
    let nodes = |id: usize, node: u16| {
        decision.clusters[id].slots.iter().filter(|slot| slot.member() == Some(node)).count()
    };
    assert_eq!([0, 1, 2, 3].map(|node| nodes(6, node)), [819, 614, 410, 205]);
    // The other service goes to whom lives, through A's own table.
    assert_eq!(owned(1, 0), 1024);
    assert_eq!([0, 1, 2, 3].map(|node| nodes(0, node)), [0, 0, 0, 2048]);
}

#[test]
fn equal_tables_are_one() {
    let mut config = six_clusters();
    for name in ["one", "three", "two"] {
        let masters = if name == "two" { "B A C" } else { "A B C" };
        let service = service(&config, name, BackupMode::MultiStandby, masters, "Z X Y");
        config.services.push(service);
    }
    config.services[2].fallback = Fallback::Masters;
    let mut bench = Bench::new(config);
    for down in ["", "A", "A X"] {
        let plans = bench.down(down).services;
        assert!(plans.iter().all(|plan| std::ptr::eq(&*plan.deal, &*plans[0].deal)), "{down}");
    }
}

#[test]
fn nodes_have_tiers_too() {
    let mut clusters = vec![cluster("A", 1, Threshold::Survivors(1), &[3, 1, 1, 0])];
    clusters[0].nodes[2].priority = 0;
    let mut config = config(clusters);
    config.services.push(service(&config, "web", BackupMode::None, "A", ""));
    check_shares(
        &mut Bench::new(config),
        &[
            ("", &[("a01", 75.0), ("a02", 25.0), ("a03", 0.0), ("a04", 0.0)]),
            ("a01", &[("a02", 100.0), ("a03", 0.0)]),
            ("a01 a02", &[("a03", 100.0)]),
            ("a01 a02 a03", &[("-", 100.0), ("a04", 0.0)]),
        ],
    );
}

/// Exactly what moves, in percent of the service's flows.
#[test]
fn what_moves() {
    let mut config = six_clusters();
    config.services.push(service(&config, "web", BackupMode::MultiStandby, "A B C", "X Y Z"));
    let mut bench = Bench::new(config);
    let cases = [
        ("", "a01", 20.0),
        ("a01", "a01 a02", 25.0),
        ("a01 a02", "A", 50.0),
        ("A", "A X", 37.5),
        ("A X", "", 50.0),
        ("", "A B", 80.0),
        ("A", "A Z", 0.0),
        ("a01 b01", "a02 b01", 35.0),
    ];
    for (before, after, percent) in cases {
        let (from, to) = (bench.down(before), bench.down(after));
        let moved = moved(&bench.model, &from, &to, 0);
        let is = 100.0 * moved.moved.fraction();
        assert_eq!(moved.extra.of, 0, "{before} to {after}");
        assert!((is - percent).abs() <= 0.25, "{before} to {after}: {is}, not {percent}");
    }
}
