//! Runs the cases: in memory and in the kernel, which must agree on verdict, bytes and counters, and
//! with what the case expects; and each case again, cut off anywhere.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use lb_common::{Counters, HashAlgorithm, Reason};
use lb_ebpf::{Action, Routed};
use lb_user::{dataplane::memory::Memory, secret};

use super::{
    cases::{self, Before, Case, Step},
    frames, oracle, rules,
    runners::{self, MemoryRunner, Outcome, Pair, SECRET, Way, run_repeated},
    scene::{self, Aside, Scene},
    world::World,
};

/// Most failures that are shown.
const SHOWN: usize = 12;

/// Runs all cases in both runners.
///
/// # Errors
/// A case does not end as it must.
pub fn run() -> Result<()> {
    runners::alone(|| {
        let mut failures = Vec::new();
        for hash in [HashAlgorithm::Multilinear, HashAlgorithm::SipHash] {
            let mut pairs = pairs(hash)?;
            for case in cases::all(&secret::expand(&SECRET, hash)) {
                failures.extend(run_case(&mut pairs[case.world as usize], &case)?);
            }
        }
        report(&failures)
    })
}

/// A runner of each kind for each host.
pub(super) fn pairs(hash: HashAlgorithm) -> Result<Vec<Pair>> {
    World::ALL.iter().map(|&world| Pair::new(world, hash)).collect()
}

pub(super) fn report(failures: &[String]) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let shown = &failures[..failures.len().min(SHOWN)];
    bail!("{} differ, for example:\n{}", failures.len(), shown.join("\n"))
}

/// The kernel's host has no routes, and drivers leave room in test runs.
fn in_kernel(case: &Case) -> bool {
    case.routed == Routed::ByHost && !case.tight
}

fn run_case(pair: &mut Pair, case: &Case) -> Result<Vec<String>> {
    // Pins grow old while a busy machine stands still; a real failure fails each time.
    const ATTEMPTS: usize = 3;
    let mut failures = once(pair, case)?;
    for _ in 1..if case.scene.is_some() { ATTEMPTS } else { 1 } {
        if !failures.is_empty() {
            failures = once(pair, case)?;
        }
    }
    Ok(failures)
}

fn once(pair: &mut Pair, case: &Case) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for way in [Way::Short, Way::Stages] {
        pair.memory.way = way;
        failures.extend(in_memory(&mut pair.memory, case)?);
    }
    let kernel = &pair.kernel;
    let memory = kernel.opened.dataplane.memory();
    runners::forget(memory);
    let mut stage = Stage::of(case, memory);
    for (number, step) in case.steps.iter().enumerate().filter(|_| in_kernel(case)) {
        stage.turn(step);
        let is = within_a_second(step, memory, || kernel.run(&step.frame))?;
        failures.extend(compare(case, number, "the kernel", &is).err());
        failures.extend(compare_pins(case, number, "the kernel", memory).err());
    }
    stage.end();
    Ok(failures)
}

fn in_memory(runner: &mut MemoryRunner, case: &Case) -> Result<Vec<String>> {
    runners::forget(&runner.memory);
    let MemoryRunner { memory, counters, way, .. } = runner;
    let key = memory.secret.get(0).context("the secret")?;
    let mut failures = Vec::new();
    let name = if *way == Way::Short { "memory" } else { "memory, by the stages" };
    let mut stage = Stage::of(case, memory);
    for (number, step) in case.steps.iter().enumerate() {
        stage.turn(step);
        let before = scene::standing(memory);
        let is = within_a_second(step, memory, || {
            let host = (case.routed, case.tight);
            Ok(runners::run_in(memory, counters, &step.frame, host, *way))
        })?;
        failures.extend(compare(case, number, name, &is).err());
        failures.extend(compare_pins(case, number, name, memory).err());
        let mut judged = oracle::judge(case.world, &step.frame, &is);
        if let Some((scene, _)) = &stage.scene {
            let pins = [&before[..], &scene::pins(memory)];
            judged = judged.and_then(|()| rules::judge(scene, &key, &step.frame, &is, pins));
        }
        failures.extend(judged.err().map(|said| format!("{}, frame {number}: {said}", case.name)));
    }
    stage.end();
    Ok(failures)
}

/// The scene that a case is in, if it has one.
struct Stage<'a> {
    memory: &'a Memory,
    scene: Option<(&'a Scene, Aside)>,
}

impl<'a> Stage<'a> {
    fn of(case: &'a Case, memory: &'a Memory) -> Self {
        let scene = case.scene.as_ref().map(|scene| (scene, scene.apply(memory)));
        Self { memory, scene }
    }

    /// What slots go through before a step.
    fn turn(&mut self, step: &'a Step) {
        if let Some(next) = &step.scene
            && let Some((_, aside)) = self.scene.take()
        {
            self.scene = Some((next, aside.turn(self.memory, next)));
        }
    }

    fn end(self) {
        if let Some((_, aside)) = self.scene {
            aside.restore(self.memory);
        }
    }
}

/// Brings about what happens before a step, and runs it; what is limited by the second again until
/// it began and ended in the same one.
fn within_a_second(
    step: &Step,
    memory: &Memory,
    mut run: impl FnMut() -> Result<Outcome>,
) -> Result<Outcome> {
    loop {
        let second = runners::second(memory);
        runners::before(memory, step.before);
        let outcome = run()?;
        let same = second == runners::second(memory);
        if same || !matches!(step.before, Before::Answers(_)) {
            return Ok(outcome);
        }
    }
}

fn compare(case: &Case, number: usize, who: &str, is: &Outcome) -> Result<(), String> {
    let step = &case.steps[number];
    let mut counters = Counters::default();
    counters.count(step.reason);
    step.notes.iter().for_each(|&note| counters.count(note));
    let must = Outcome { action: step.action, frame: step.out.clone(), counters };
    if *is == must {
        return Ok(());
    }
    Err(format!(
        "{} (frame {number} of {:?}) in {who}: must be {}\nis {}",
        case.name,
        case.world,
        describe(&must),
        describe(is),
    ))
}

fn compare_pins(case: &Case, number: usize, who: &str, memory: &Memory) -> Result<(), String> {
    let (must, is) = (&case.steps[number].pins, scene::pins(memory));
    if *must == is || case.scene.is_none() && number > 0 {
        return Ok(());
    }
    Err(format!("{} (frame {number}) in {who}: pins must be {must:#?}\nare {is:#?}", case.name))
}

/// An outcome for people.
pub(super) fn describe(outcome: &Outcome) -> String {
    let counted = outcome.counters.iter().filter(|(_, n)| *n > 0);
    let counted: Vec<_> = counted.map(|(reason, n)| format!("{} {n}", reason.name())).collect();
    let head = &outcome.frame[..outcome.frame.len().min(200)];
    format!(
        "{:?} {}, {} bytes\n{}",
        outcome.action,
        counted.join(", "),
        outcome.frame.len(),
        frames::print(head)
    )
}

/// The union of all cases covers every counter.
///
/// # Errors
/// One is not covered.
pub fn every_counter_is_covered() -> Result<()> {
    let key = secret::expand(&SECRET, HashAlgorithm::Multilinear);
    let cases = cases::all(&key);
    let steps = cases.iter().flat_map(|case| &case.steps);
    let of = |step: &Step| step.notes.iter().copied().chain([step.reason]).collect::<Vec<_>>();
    let covered: BTreeSet<Reason> = steps.flat_map(of).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|r| !covered.contains(r)).collect();
    ensure!(missing.is_empty(), "no case ends in {missing:?}");
    Ok(())
}

/// Every case cut off at every length: both runners agree, and what is cut off inside of its packet
/// goes nowhere.
///
/// # Errors
/// A frame does.
pub fn truncated() -> Result<()> {
    let hash = HashAlgorithm::Multilinear;
    runners::alone(|| {
        let (mut pairs, mut failures) = (pairs(hash)?, Vec::new());
        for case in cases::all(&secret::expand(&SECRET, hash)).iter().filter(|c| in_kernel(c)) {
            let pair = &mut pairs[case.world as usize];
            pair.forget();
            for step in &case.steps {
                let lengths = lengths(step.frame.len());
                for frame in lengths.map(|length| &step.frame[..length]) {
                    failures.extend(cut(pair, &case.name, frame)?);
                }
                // What the next frame may need.
                pair.run(&step.frame)?;
            }
        }
        report(&failures)
    })
}

/// Every length that the kernel runs; of a long frame those around its headers and its buffers, and
/// some others.
fn lengths(whole: usize) -> impl Iterator<Item = usize> {
    let near =
        move |length: usize| length < 200 || whole - length < 8 || (3400..3540).contains(&length);
    (14..whole).filter(move |&length| whole < 400 || near(length) || length % 97 == 0)
}

fn cut(pair: &mut Pair, name: &str, frame: &[u8]) -> Result<Option<String>> {
    let (mine, its) = pair.run(frame)?;
    let at = frame.len();
    if mine != its {
        let (mine, its) = (describe(&mine), describe(&its));
        return Ok(Some(format!("{name} of {at} bytes: memory {mine}the kernel {its}")));
    }
    let goes = matches!(mine.action, Action::Tx | Action::Redirect);
    if goes && oracle::packet_end(frame).is_none_or(|end| end > at) {
        return Ok(Some(format!("{name} of {at} bytes is sent: {}", describe(&mine))));
    }
    Ok(oracle::judge(pair.world, frame, &mine)
        .err()
        .map(|said| format!("{name} of {at} bytes: {said}")))
}

/// A CPU's answers to what is too big: a thousand within a second, and then none.
///
/// # Errors
/// There are more or fewer.
pub fn limit() -> Result<()> {
    const LIMIT: u64 = 1000;
    let hash = HashAlgorithm::Multilinear;
    runners::alone(|| {
        let kernel = runners::KernelRunner::new(&World::Router.intent(), hash)?;
        let memory = kernel.opened.dataplane.memory();
        let cases = cases::all(&secret::expand(&SECRET, hash));
        let steps = cases.iter().flat_map(|case| &case.steps);
        let step = steps.clone().find(|step| step.reason == Reason::AnswerTooBig);
        let frame = &step.ok_or_else(|| anyhow::anyhow!("no case is answered"))?.frame;
        // Until all of it happens within one second; a busy machine may need some attempts.
        for _ in 0..60 {
            runners::forget(memory);
            let second = runners::second(memory);
            let before = kernel.opened.dataplane.counters()?;
            for _ in 0..LIMIT + 50 {
                run_repeated(&kernel.opened.ebpf, frame, 1)?;
            }
            if second != runners::second(memory) {
                continue;
            }
            let counted = runners::difference(&before, &kernel.opened.dataplane.counters()?)?;
            let told = (counted.answer_too_big, counted.drop_too_big_silent);
            ensure!(told == (LIMIT, 50), "{told:?} were answered and were not");
            return Ok(());
        }
        bail!("{LIMIT} frames never ran within one second")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a kernel, and so without root: the half of `pipeline/cases` that needs neither.
    #[test]
    fn cases_in_memory() {
        let hash = HashAlgorithm::Multilinear;
        let hosts = World::ALL.map(|world| MemoryRunner::new(&world.intent(), hash));
        let mut hosts = hosts.map(|host| host.expect("memory"));
        let mut failures = Vec::new();
        for case in cases::all(&secret::expand(&SECRET, hash)) {
            failures.extend(in_memory(&mut hosts[case.world as usize], &case).expect("a run"));
        }
        assert!(failures.is_empty(), "{}", report(&failures).expect_err("failures"));
    }
}
