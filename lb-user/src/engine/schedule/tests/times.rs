//! When checks start.

use std::{collections::BTreeSet, time::Instant};

use super::world::{MISS, PATIENCE, World, address, asked, gaps, ms, surveyed, tcp};
use crate::{
    config::SurveySend,
    decide::{MissReason, NodeMonitor, Outcome, TargetId},
    engine::schedule::{Ask, Schedule},
};
use Outcome::Hit;

const T0: TargetId = TargetId(0);

/// How many start in the fullest of ten parts of an interval, and in the emptiest.
fn fullest_and_emptiest(starts: impl Iterator<Item = u128>, interval: u128) -> (usize, usize) {
    let mut parts = [0; 10];
    starts.for_each(|at| parts[(at % interval * 10 / interval) as usize] += 1);
    (parts.into_iter().max().unwrap_or(0), parts.into_iter().min().unwrap_or(0))
}

#[test]
fn checks_are_spread_over_the_interval_and_stay_so() {
    let mut world = World::steady(&tcp(1000, [1000, 1000, 500]), ms(1), Hit);
    let begin = world.now;
    world.run(ms(100_500));
    let starts = world.starts();
    assert_eq!(starts.len(), 1000);
    for (job, starts) in &starts {
        assert!(starts[0] - begin <= ms(100), "{job:?}: the first at {:?}", starts[0] - begin);
        let later = gaps(&starts[2..]);
        let even = later.iter().all(|gap| (ms(937)..=ms(1063)).contains(gap));
        assert!(even, "{job:?}: {later:?}");
        assert!((100..=102).contains(&starts.len()), "{job:?}: {} in 100 s", starts.len());
    }
    for nth in [10, 90] {
        let times = starts.values().map(|starts| (starts[nth] - begin).as_nanos());
        let (most, least) = fullest_and_emptiest(times, 1_000_000_000);
        assert!(most < 150 && least > 60, "{most} and {least} of 1000 in a tenth");
    }
}

#[test]
fn a_target_keeps_its_phase_whoever_else_is_checked() {
    let targets = tcp(50, [1000, 1000, 500]);
    let phases = |targets: &[_], which: usize| {
        let mut world = World::steady(targets, ms(1), Hit);
        world.run(ms(10_000));
        world.starts().into_values().nth(which)
    };
    assert_eq!(phases(&targets, 49), phases(&targets[49..], 0));
    assert_ne!(phases(&targets, 49), phases(&targets, 48));
}

#[test]
fn at_most_one_check_of_a_job_is_in_flight() {
    let mut world = World::steady(&tcp(20, [1000, 100, 1000]), ms(1000), MISS);
    world.run(ms(20_000));
    assert_eq!(world.schedule.figures().in_flight, 20);
    for starts in world.starts().values() {
        assert!(gaps(starts).iter().all(|gap| *gap >= ms(1000)), "{starts:?}");
        assert!(starts.len() >= 17, "and none is left out: {}", starts.len());
    }
}

#[test]
fn outcomes_that_are_about_to_change_the_state_are_followed_fast() {
    // What a target says, check by check, and the longest time to the next check: 200 is fast.
    let says = [
        (Hit, 1063),
        (Hit, 1063),
        (MISS, 200),
        (MISS, 200),
        (MISS, 1063), // down
        (MISS, 1063),
        (Hit, 200),
        (Hit, 1063), // up
        (MISS, 200),
        (Hit, 1063),
        (Outcome::NotWorking, 1063),
        (Hit, 200),
        (MISS, 200), // it keeps its connections still
        (Outcome::Miss(MissReason::Local), 200),
        (MISS, 200),
        (MISS, 1063), // down
        (MISS, 1063),
        (Outcome::Miss(MissReason::Local), 1063),
    ];
    let mut script = says.into_iter();
    let mut world = World::new(&tcp(1, [1000, 200, 100]), move |_, _| {
        (ms(2), vec![(T0, script.next().map_or(Hit, |(says, _)| says))])
    });
    world.run(ms(15_000));
    let starts = world.starts().into_values().next().unwrap_or_default();
    for (i, (gap, (says, longest))) in gaps(&starts).into_iter().zip(says).enumerate() {
        let fast = longest == 200;
        assert!(gap >= ms(200) && gap <= ms(longest), "after {i}, {says:?}: {gap:?}");
        assert!(fast || gap > ms(200) || i == 0, "after {i}, {says:?}: {gap:?}");
    }
}

#[test]
fn a_lost_answer_is_confirmed_at_once_by_unicast_once_a_round() {
    // Node 1 (targets 2 and 3) falls silent after a second; the others answer.
    let targets = surveyed(3, SurveySend::Broadcast([10, 0, 0, 255].into()), [1000, 400, 200]);
    let begin = World::steady(&targets, ms(1), Hit).now;
    let mut world = World::new(&targets, move |now, ask| {
        let silent = |t: TargetId| (2..4).contains(&t.0) && now > begin + ms(1100);
        let says = |t| if silent(t) { (t, MISS) } else { (t, Hit) };
        (ms(200), asked(ask).into_iter().map(says).collect())
    });
    world.run(ms(4500));
    let (all, lost) = ((0..6).map(TargetId).collect(), vec![TargetId(2), TargetId(3)]);
    let (all, lost) = (Ask::Group(all), Ask::Agents(lost));
    let asks = world.asks();
    let first = asks.iter().position(|(_, ask)| *ask == lost).expect("a confirmation");
    assert!(asks[..first].iter().all(|(_, ask)| *ask == all), "{asks:?}");
    assert_eq!(asks[first].0 - asks[first - 1].0, ms(200), "at once");
    // Miss, confirmation, and a third after the fast interval: down. Then rounds only.
    assert_eq!(asks[first + 1], (asks[first].0 + ms(400), lost));
    assert!(asks[first + 2..].iter().all(|(_, ask)| *ask == all), "{asks:?}");
    assert_eq!(world.schedule.figures().confirmations, 1);
    assert!(world.counted(T0).iter().all(|outcome| *outcome == Hit));
    let misses = world.counted(TargetId(3)).iter().filter(|o| **o == MISS).count();
    assert!(misses >= 4, "each counts: {misses}");
}

#[test]
fn servers_of_one_agent_are_one_question() {
    let mut world = World::steady(&surveyed(4, SurveySend::Unicast, [1000, 200, 100]), ms(1), Hit);
    world.run(ms(99));
    let mut asks: Vec<_> = world.asks().into_iter().map(|(_, ask)| asked(&ask)).collect();
    asks.sort();
    let pair = |node: u32| vec![TargetId(2 * node), TargetId(2 * node + 1)];
    assert_eq!(asks, (0..4).map(pair).collect::<Vec<_>>());
}

#[test]
fn announcements_count_at_once_and_overtake_answers() {
    let targets = surveyed(1, SurveySend::Unicast, [1000, 200, 100]);
    let mut world = World::steady(&targets, ms(50), Hit);
    world.run(ms(3000));
    while world.schedule.figures().in_flight == 0 {
        world.run(ms(10));
    }
    let announced = world.schedule.announced(T0, false, world.now);
    assert_eq!(announced, Outcome::NotWorking);
    let before = world.counted(T0).len();
    world.run(ms(50));
    assert_eq!(world.counted(T0).len(), before, "the answer is older than the announcement");
    assert_eq!(world.counted(TargetId(1)).len(), before + 1, "of the other server it is not");
    let now = world.now;
    assert_eq!(world.schedule.announced(T0, true, now), Hit);
    world.run(ms(250));
    let next = world.asks().into_iter().find(|(at, _)| *at > now).map(|(at, _)| at - now);
    assert!(next.is_some_and(|next| next <= ms(200)), "the second hit is asked for: {next:?}");
}

#[test]
fn a_refusal_that_is_older_than_an_announcement_is_overtaken_too() {
    let targets = surveyed(1, SurveySend::Unicast, [1000, 200, 100]);
    let mut world = World::steady(&targets, ms(50), Outcome::NotWorking);
    while world.schedule.figures().in_flight == 0 {
        world.run(ms(10));
    }
    assert_eq!(world.schedule.announced(T0, true, world.now + ms(1)), Hit);
    world.run(ms(50));
    assert_eq!(world.counted(T0), [], "it is older");
    world.run(ms(2000));
    assert!(world.counted(T0).contains(&Outcome::NotWorking), "a later one is not");
}

#[test]
fn a_clock_that_goes_back_is_not_followed() {
    let mut world = World::steady(&tcp(3, [1000, 1000, 500]), ms(1), Hit);
    world.run(ms(5000));
    let wake = world.schedule.wake_at();
    assert_eq!(world.schedule.poll(ms(0)), []);
    assert!(world.schedule.wake_at() >= wake.min(world.now));
    world.run(ms(5000));
    assert_eq!(world.schedule.figures().misses, 0);
}

#[test]
fn ten_thousand_targets_cost_little() {
    let targets = tcp(10_000, [1000, 1000, 500]);
    let begin = Instant::now();
    let mut schedule = Schedule::new(&targets, &[], ms(10_000), ms(0));
    let made = begin.elapsed();
    let (mut now, mut polls, mut checks) = (ms(0), 0, 0);
    let begin = Instant::now();
    while now < ms(10_000) {
        now = schedule.wake_at();
        for start in schedule.poll(now) {
            checks += 1;
            schedule.ended(start.job, now, &asked(&start.ask).map_hit());
        }
        polls += 1;
    }
    let each = begin.elapsed() / checks;
    assert!((99_000..112_000).contains(&checks), "{checks} checks in 10 s");
    // A check a second of each leaves 100 µs of a core for one; this is its planning.
    assert!(each < ms(1) / 20, "{each:?} a check, {polls} polls, made in {made:?}");
}

trait MapHit {
    fn map_hit(&self) -> Vec<(TargetId, Outcome)>;
}

impl MapHit for Vec<TargetId> {
    fn map_hit(&self) -> Vec<(TargetId, Outcome)> {
        self.iter().map(|&target| (target, Hit)).collect()
    }
}

#[test]
fn what_was_known_before_paces_the_first_checks() {
    let targets = tcp(2, [60_000, 200, 100]);
    let mut up = NodeMonitor::new();
    up.observe(Hit, &targets[0].health);
    let mut world = World::steady(&targets, ms(2), MISS);
    world.schedule = Schedule::new(&targets, &[up], PATIENCE, world.now);
    world.run(ms(700));
    assert_eq!(world.counted(T0), [MISS, MISS, MISS], "it was up: fast until it is down");
    assert_eq!(world.counted(TargetId(1)).len(), 1, "it is down at once");
}

#[test]
fn a_check_that_could_not_be_made_is_due_once_it_can() {
    let local = Outcome::Miss(MissReason::Local);
    let mut world = World::steady(&tcp(2, [60_000, 200, 100]), ms(1), local);
    world.run(ms(110));
    assert_eq!(world.schedule.figures().local, 2);
    let now = world.now;
    world.schedule.can_be_made(address(1), now);
    world.run(ms(10));
    let later: Vec<_> = world.asks().into_iter().filter(|(at, _)| *at >= now).collect();
    assert_eq!(later, [(now, Ask::Probe(TargetId(1)))]);
}

#[test]
fn a_call_before_its_time_is_not_one_in_time() {
    let mut world = World::steady(&tcp(1, [1000, 1000, 500]), ms(1), Hit);
    for _ in 0..100 {
        let due = world.schedule.wake_at();
        (0..50).for_each(|_| assert_eq!(world.schedule.poll(world.now), []));
        world.now = due + ms(3);
        world.schedule.poll(world.now);
    }
    assert!(world.schedule.figures().lag_median >= ms(3));
}

#[test]
fn who_rests_is_not_asked_and_the_others_are_at_their_times() {
    let targets = tcp(20, [1000, 1000, 500]);
    let run = |resting: &[u32]| {
        let mut world = World::steady(&targets, ms(1), Hit);
        world.run(ms(5_000));
        world.schedule.rest(resting.iter().copied().map(TargetId).collect());
        world.run(ms(10_000));
        let rested: Vec<usize> = world.starts().values().map(Vec::len).collect();
        world.schedule.rest(BTreeSet::new());
        world.run(ms(5_000));
        (rested, (world.starts(), world.now))
    };
    let (all, with_all) = run(&[]);
    let (some, with_some) = run(&[3, 7]);
    for (job, (all, some)) in all.iter().zip(&some).enumerate() {
        let rests = [3, 7].contains(&job);
        assert_eq!(all == some, !rests, "{job}: {some} instead of {all}");
        assert!(!rests || *some <= 6, "{job}: {some} although it rests");
    }
    for (starts, end) in [with_all, with_some] {
        let late = |starts: &Vec<_>| starts.last().is_none_or(|last| end - *last > ms(1100));
        assert!(!starts.values().any(late), "all are asked again");
    }
}
