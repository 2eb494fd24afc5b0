//! What does not count.

use super::world::{MISS, PATIENCE, STARVED, World, address, asked, ms, surveyed, tcp};
use crate::{
    config::SurveySend,
    decide::{MissReason, Outcome, TargetId},
};
use Outcome::Hit;

const T0: TargetId = TargetId(0);

type Look = fn(&mut World);

/// Whether timers or the ends of checks are looked at first after a pause.
const ORDERS: [(&str, Look); 2] = [("ends", World::io), ("timers", World::timers)];

#[test]
fn a_stopped_process_counts_no_miss() {
    // Times of the checks, and of the stop, in milliseconds. While it stands, timeouts pass.
    let cases = [
        ([1000, 1000, 500], 3000),
        ([1000, 1000, 500], 800),
        ([1000, 200, 1000], 10_000),
        ([100, 100, 100], 80),
        ([100, 50, 50], 5000),
        ([10_000, 1000, 200], 400),
    ];
    for (times, stop) in cases {
        for (first, order) in ORDERS {
            let mut starved = 0;
            for at in 0..20 {
                let mut world = World::steady(&tcp(40, times), ms(30), Hit);
                world.run(ms(2 * times[0] + times[0] * at / 20));
                world.stop(ms(stop));
                order(&mut world);
                world.run(ms(3 * times[0]));
                let figures = world.schedule.figures();
                assert_eq!(figures.misses, 0, "{times:?}, stopped {stop} ms, {first} first");
                starved += figures.starved;
            }
            assert!(starved > 0, "{times:?}, {stop}: nothing was under way");
        }
    }
}

#[test]
fn what_was_starved_is_repeated_at_once() {
    for (first, order) in ORDERS {
        let mut world = World::steady(&tcp(1, [1000, 1000, 500]), ms(400), Hit);
        while world.schedule.figures().in_flight == 0 || world.now < ms(80_000) {
            world.run(ms(1));
        }
        world.stop(ms(2000));
        let woken = world.now;
        order(&mut world);
        world.run(ms(450));
        let again = world.asks().into_iter().find(|(at, _)| *at >= woken).map(|(at, _)| at);
        assert_eq!(again, Some(woken), "{first} first");
        let counted = world.counted(T0);
        assert_eq!(counted[counted.len() - 2..], [STARVED, Hit], "{first} first");
        assert!(world.schedule.figures().worst_lag >= ms(1700));
    }
}

#[test]
fn a_small_lag_is_no_excuse() {
    let mut world = World::steady(&tcp(1, [1000, 1000, 500]), ms(400), Hit);
    while world.schedule.figures().in_flight == 0 {
        world.run(ms(1));
    }
    world.stop(ms(450));
    world.run(ms(1));
    assert_eq!(world.counted(T0), [MISS]);
}

#[test]
fn a_pause_is_not_made_up_for_in_a_burst() {
    let mut world = World::steady(&tcp(1000, [1000, 1000, 500]), ms(1), Hit);
    world.run(ms(5_000));
    world.stop(ms(20_000));
    let (woken, before) = (world.now, world.schedule.figures().checks);
    world.timers();
    let burst = world.schedule.figures().checks - before;
    assert!(burst < 600, "{burst} of 1000 at once: those late by less than half an interval");
    world.run(ms(3000));
    let all = world.schedule.figures().checks - before;
    assert!((2800..3700).contains(&all), "{all} in 3 s");
    let last = |starts: &Vec<_>| starts.iter().filter(|at| **at >= woken).count();
    assert!(world.starts().values().all(|starts| (2..=5).contains(&last(starts))));
}

#[test]
fn not_working_is_believed_whatever_was_late() {
    let mut world = World::steady(&tcp(1, [1000, 1000, 500]), ms(400), Outcome::NotWorking);
    world.run(ms(200));
    // The answer came, and lies there since.
    let now = world.now + ms(3000);
    let job = world.only_flight();
    let counted = world.schedule.ended(job, now, &[(T0, Outcome::NotWorking)]);
    assert_eq!(counted, [(T0, Outcome::NotWorking)]);
}

#[test]
fn only_those_that_were_starved_are_asked_again() {
    let targets = surveyed(3, SurveySend::Broadcast([10, 0, 0, 255].into()), [1000, 400, 200]);
    let mut world = World::new(&targets, |_, ask| {
        (ms(200), asked(ask).into_iter().map(|target| (target, Hit)).collect())
    });
    while world.schedule.figures().in_flight == 0 {
        world.run(ms(1));
    }
    let job = world.only_flight();
    let now = world.now + ms(700);
    let outcomes: Vec<_> = (0..6).map(|t| (TargetId(t), if t == 4 { MISS } else { Hit })).collect();
    let counted = world.schedule.ended(job, now, &outcomes);
    assert_eq!(counted[4], (TargetId(4), STARVED));
    let starts = world.schedule.poll(now);
    assert_eq!(starts.len(), 1);
    assert_eq!(asked(&starts[0].ask), [TargetId(4)]);
}

/// Two nodes; the first dies 20 s after the start and its way may go down.
fn dying(way_down: bool, other_dies: bool) -> World {
    let mut world = World::new(&tcp(2, [1000, 500, 300]), move |now, ask| {
        let dead = |t: TargetId| now >= ms(97_777) && (t == T0 || other_dies);
        let says = |t| if dead(t) { (t, MISS) } else { (t, Hit) };
        (ms(300), asked(ask).into_iter().map(says).collect())
    });
    world.run(ms(20_000));
    if way_down {
        world.schedule.path(address(0), false, world.now);
        if other_dies {
            world.schedule.path(address(1), false, world.now);
        }
    }
    world
}

#[test]
fn misses_behind_a_link_that_is_down_do_not_count() {
    let mut world = dying(false, false);
    world.run(ms(3000));
    assert!(world.schedule.figures().misses >= 3, "else they do");

    let mut world = dying(true, false);
    world.run(PATIENCE - ms(1));
    let figures = world.schedule.figures();
    assert_eq!((figures.misses, figures.ways_down), (0, 1));
    assert!((8..=12).contains(&figures.path_down), "asked at its pace: {}", figures.path_down);
    // The other node is reached all the time, by another way.
    world.run(ms(4000));
    assert!(world.schedule.figures().misses >= 3, "patience ended");
}

#[test]
fn without_another_way_a_link_that_is_down_excuses_without_end() {
    let mut world = dying(true, true);
    world.run(ms(100_000));
    assert_eq!(world.schedule.figures().misses, 0);
    assert_eq!(world.schedule.figures().ways_down, 2);
}

#[test]
fn a_check_that_began_while_the_way_was_down_does_not_count() {
    let mut world = dying(true, true);
    while world.schedule.figures().in_flight < 2 {
        world.run(ms(1));
    }
    world.schedule.path(address(0), true, world.now);
    world.schedule.path(address(1), true, world.now);
    world.run(ms(300));
    assert_eq!(world.schedule.figures().misses, 0);
    world.run(ms(1500));
    assert!(world.schedule.figures().misses >= 2, "later ones do");
}

#[test]
fn what_this_host_could_not_do_is_not_excused_twice() {
    let local = Outcome::Miss(MissReason::Local);
    let mut world = World::steady(&tcp(1, [1000, 1000, 500]), ms(10), local);
    world.schedule.path(address(0), false, world.now);
    world.run(ms(5000));
    let figures = world.schedule.figures();
    assert_eq!((figures.path_down, figures.starved, figures.misses), (0, 0, 0));
    assert!(figures.local >= 5);
}

/// Two nodes behind a gateway that are silent from 20 s on, or only the first of them.
fn silent(both: bool) -> World {
    let mut world = dying(false, both);
    let gateway = Some(address(99));
    world.schedule.gateway(address(0), gateway);
    world.schedule.gateway(address(1), gateway);
    world
}

#[test]
fn a_gateway_is_known_to_be_dead_before_the_nodes_behind_it_fall() {
    let mut world = silent(true);
    world.run(ms(3500));
    assert_eq!(world.schedule.doubted(), [address(99)], "the kernel is asked");
    assert_eq!(world.schedule.figures().misses, 0, "until it knows");
    world.schedule.path(address(0), false, world.now);
    world.schedule.path(address(1), false, world.now);
    world.run(ms(60_000));
    let figures = world.schedule.figures();
    assert_eq!(figures.misses, 0);
    assert!(figures.path_down > 120, "and those that waited are among them: {figures:?}");
}

#[test]
fn behind_a_gateway_that_answers_the_misses_that_waited_count() {
    let mut world = silent(true);
    for _ in 0..60 {
        world.run(ms(50));
        if world.schedule.doubted() == [address(99)] {
            world.schedule.gateway_answers(address(99), world.now);
        }
    }
    world.timers();
    for target in [T0, TargetId(1)] {
        let counted = world.counted(target);
        assert!(counted.ends_with(&[MISS, MISS, MISS]), "asked fast meanwhile: {counted:?}");
    }
}

#[test]
fn nobody_waits_for_ever_for_a_gateway_of_which_the_kernel_says_nothing() {
    let mut world = silent(true);
    world.run(ms(3500));
    assert_eq!(world.schedule.figures().misses, 0);
    world.run(ms(4000));
    assert!(world.schedule.figures().misses >= 6);
}

#[test]
fn a_node_that_falls_alone_falls_by_what_comes_from_others_behind_its_gateway() {
    let mut world = silent(false);
    world.run(ms(10_000));
    assert!(world.counted(T0).ends_with(&[MISS, MISS, MISS]), "{:?}", world.counted(T0));
}

#[test]
fn a_gateway_that_was_away_for_seconds_takes_no_node_with_it() {
    let mut world = silent(true);
    world.run(ms(3000));
    world.schedule.gateway_answers(address(99), world.now);
    world.timers();
    let figures = world.schedule.figures();
    assert_eq!(figures.misses, 0);
    assert!(figures.path_down >= 6, "{figures:?}");
}
