//! Whatever happens in whatever order: what always holds.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Life, MISS, World, address, asked, ms, surveyed, tcp};
use crate::{
    config::SurveySend,
    decide::{Outcome, TargetId},
};

/// What a step does.
#[derive(Clone, Debug)]
enum Step {
    /// Runs for so many milliseconds.
    Run(u64),
    /// Stands still for so many.
    Stop(u64, bool),
    /// The way to a node changes.
    Path(u32, bool),
    /// A target announces.
    Announce(u32, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..3000u64).prop_map(Step::Run),
        2 => (1..4000u64, any::<bool>()).prop_map(|(span, io)| Step::Stop(span, io)),
        1 => (0..4u32, any::<bool>()).prop_map(|(node, up)| Step::Path(node, up)),
        1 => (0..8u32, any::<bool>()).prop_map(|(target, yes)| Step::Announce(target, yes)),
    ]
}

/// Interval, fast interval, timeout.
fn times() -> impl Strategy<Value = [u64; 3]> {
    (20..2000u64, 1..=100u64, 1..=100u64).prop_map(|(interval, fast, timeout)| {
        [interval, (interval * fast / 100).max(5), (interval * timeout / 100).max(2)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn always(
        times in times(),
        kind in 0..3u8,
        fates in prop::collection::vec((0..=100u64, 0..4u8), 1..40),
        steps in prop::collection::vec(step(), 1..20),
    ) {
        let targets = match kind {
            0 => tcp(8, times),
            1 => surveyed(4, SurveySend::Unicast, times),
            _ => surveyed(4, SurveySend::Broadcast([10, 0, 0, 255].into()), times),
        };
        let [interval, _, timeout] = times.map(ms);
        let mut fates = fates.into_iter().cycle();
        let mut world = World::new(&targets, move |_, ask| {
            let (takes, says) = fates.next().unwrap_or((0, 0));
            let says = [Outcome::Hit, Outcome::Hit, MISS, Outcome::NotWorking][usize::from(says)];
            (timeout * takes as u32 / 100, asked(ask).into_iter().map(|t| (t, says)).collect())
        });
        let mut pauses = Vec::new();
        for step in steps {
            match step {
                Step::Run(span) => world.run(ms(span)),
                Step::Stop(span, io) => {
                    let from = world.now;
                    world.stop(ms(span));
                    pauses.push((from, world.now));
                    if io { world.io() } else { world.timers() }
                }
                Step::Path(node, up) => world.schedule.path(address(node), up, world.now),
                Step::Announce(target, yes) => {
                    world.schedule.announced(TargetId(target), yes, world.now);
                }
            }
        }
        for lives in world.lives.values() {
            prop_assert!(lives.iter().rev().skip(1).all(|life| life.end.is_some()), "two in flight");
            for pair in lives.windows(2) {
                apart(&pair[0], &pair[1], times.map(ms), kind > 0, &pauses)?;
            }
            let limit = (interval / 2).min(timeout);
            for life in lives.iter().filter(|life| life.misses > 0) {
                let end = life.end.unwrap_or(world.now);
                let through = pauses.iter().filter(|(_, to)| *to > life.start && *to <= end);
                let longest = through.map(|(from, to)| *to - *from).max().unwrap_or_default();
                // A pause shows as a lag that is shorter by at most the tick.
                prop_assert!(longest <= limit + limit / 2, "{life:?} lived through {longest:?}");
            }
        }
    }
}

/// A check began after the one before had ended, neither too early nor too late.
fn apart(
    one: &Life,
    next: &Life,
    [interval, fast, _]: [Duration; 3],
    survey: bool,
    pauses: &[(Duration, Duration)],
) -> Result<(), TestCaseError> {
    let end = one.end.unwrap_or(next.start);
    let (gap, life) = (next.start - one.start, end - one.start);
    prop_assert!(end <= next.start, "{one:?} {next:?}");
    let confirmation = survey && one.end == Some(next.start);
    prop_assert!(gap >= fast.min(interval / 2) || confirmation, "only {gap:?} apart");
    // Each pause can put it off to the next point of its grid.
    let late = pauses.iter().map(|&(from, to)| {
        let paused = to.min(next.start).saturating_sub(from.max(one.start));
        if paused.is_zero() { paused } else { paused + interval + interval / 16 }
    });
    let late: Duration = late.sum();
    let most = (interval + interval / 16 + late).max(life);
    prop_assert!(gap <= most, "{gap:?} apart, {life:?} of it in flight");
    Ok(())
}
