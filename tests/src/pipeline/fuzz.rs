//! Frames that nobody wrote, made from those of the cases: both runners must agree on verdict, bytes
//! and counters, and what must hold for any frame does.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use lb_common::HashAlgorithm;
use lb_user::secret;

use super::{
    cases, check, kept,
    mutate::Mutator,
    oracle,
    random::Numbers,
    rules,
    runners::{self, Pair, SECRET, Way},
    scene::{self, Scene},
    scenes,
};
use crate::clock::Moment;

/// How long the suite runs.
const SUITE: Duration = Duration::from_secs(10);
/// Sequences between two looks at the clock.
const AT_A_TIME: usize = 200;

/// A run that was good.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ran {
    /// Frames.
    pub frames: u64,
    /// Of them those that were sent somewhere.
    pub sent: u64,
}

/// The suite: some seconds, always with the same numbers.
///
/// # Errors
/// The runners differ.
pub fn run() -> Result<()> {
    let ran = fuzz(1, SUITE, None)?;
    // Most of what is mutated ends at once; but not all.
    anyhow::ensure!(ran.sent * 20 > ran.frames && ran.frames > 1000, "too few were sent: {ran:?}");
    Ok(())
}

/// Runs for so long. What differs is made as small as it can be and, if there is a directory,
/// written to a file there.
///
/// # Errors
/// The runners differ, or something else that must hold does not.
pub fn fuzz(seed: u64, time: Duration, keep: Option<&Path>) -> Result<Ran> {
    runners::alone(|| {
        let hash = HashAlgorithm::Multilinear;
        let key = secret::expand(&SECRET, hash);
        let cases = cases::all(&key);
        let frames = cases.into_iter().filter(|case| !case.tight);
        let frames = frames.map(|case| case.steps.into_iter().map(|step| step.frame).collect());
        let mutator = Mutator::new(frames.collect());
        let (mut numbers, mut pairs, mut ran) =
            (Numbers(seed), check::pairs(hash)?, Ran::default());
        let start = Moment::now();
        while start.elapsed() < time {
            for _ in 0..AT_A_TIME {
                let world = numbers.below(pairs.len());
                let mut frames = mutator.sequence(&mut numbers);
                let pair = &mut pairs[world];
                // The kernel's packets go the short way where they can.
                pair.memory.way = [Way::Short, Way::Stages][numbers.below(2)];
                // Where slots moved, what packets leave behind is what the next ones find.
                let scene = (numbers.below(8) == 0).then(|| scenes::random(&mut numbers, &key));
                for _ in 0..if scene.is_some() { 8 } else { 0 } {
                    frames.extend(mutator.to(&mut numbers, scenes::OF));
                }
                let scene = scene.as_ref();
                let (found, sent) = sequence(pair, &frames, scene)?;
                ran.frames += frames.len() as u64;
                ran.sent += sent;
                if found.is_none() {
                    continue;
                }
                let frames = smaller(pair, frames, scene)?;
                // On a machine that stood still a pin grew old between the two.
                let Some(about) = differs(pair, &frames, scene)? else { continue };
                let about = match scene {
                    None => format!("found with seed {seed}\n{about}"),
                    Some(scene) => format!("found with seed {seed}\n{about}\n{scene:?}"),
                };
                if let Some(directory) = keep {
                    let name = format!("seed-{seed}-{}.txt", ran.frames);
                    kept::write(directory, &name, &about, &frames)?;
                }
                bail!("after {} frames: {about}", ran.frames);
            }
        }
        Ok(ran)
    })
}

/// What differs between the runners, or does not hold, of frames one after the other.
///
/// # Errors
/// The kernel cannot run one.
pub(super) fn differs(
    pair: &mut Pair,
    frames: &[Vec<u8>],
    scene: Option<&Scene>,
) -> Result<Option<String>> {
    Ok(sequence(pair, frames, scene)?.0)
}

/// The same, and how many of them were sent.
fn sequence(
    pair: &mut Pair,
    frames: &[Vec<u8>],
    scene: Option<&Scene>,
) -> Result<(Option<String>, u64)> {
    pair.forget();
    let Some(scene) = scene else { return among(pair, frames, None) };
    let aside = pair.memories().map(|memory| scene.apply(memory));
    let (mut found, sent) = among(pair, frames, Some(scene))?;
    let [mine, its] = pair.memories().map(scene::pins);
    if found.is_none() && mine != its {
        found = Some(format!("pins in memory: {mine:#?}\nin the kernel: {its:#?}"));
    }
    for (memory, aside) in pair.memories().into_iter().zip(aside) {
        aside.restore(memory);
    }
    Ok((found, sent))
}

fn among(
    pair: &mut Pair,
    frames: &[Vec<u8>],
    scene: Option<&Scene>,
) -> Result<(Option<String>, u64)> {
    use lb_ebpf::Action::{Redirect, Tx};
    let key = pair.memory.memory.secret.get(0).context("the secret")?;
    let mut sent = 0;
    for (number, frame) in frames.iter().enumerate() {
        let before = scene.map(|_| scene::standing(&pair.memory.memory));
        let (mine, its) = pair.run(frame)?;
        sent += u64::from(matches!(mine.action, Tx | Redirect));
        if mine != its {
            let (mine, its) = (check::describe(&mine), check::describe(&its));
            let about = format!("frame {number} in memory: {mine}and in the kernel: {its}");
            return Ok((Some(about), sent));
        }
        let mut said = oracle::judge(pair.world, frame, &mine);
        if let (Some(scene), Some(before)) = (scene, before) {
            let pins = [&before[..], &scene::pins(&pair.memory.memory)];
            said = said.and_then(|()| rules::judge(scene, &key, frame, &mine, pins));
        }
        if let Err(said) = said {
            let about = format!("frame {number}: {said}: {}", check::describe(&mine));
            return Ok((Some(about), sent));
        }
    }
    Ok((None, sent))
}

/// The least that still differs: fewer frames, shorter ones, with more zeros.
fn smaller(
    pair: &mut Pair,
    mut frames: Vec<Vec<u8>>,
    scene: Option<&Scene>,
) -> Result<Vec<Vec<u8>>> {
    let mut attempt = |frames: &mut Vec<Vec<u8>>, edit: &dyn Fn(&mut Vec<Vec<u8>>)| -> Result<()> {
        let mut less = frames.clone();
        edit(&mut less);
        if !less.is_empty() && differs(pair, &less, scene)?.is_some() {
            *frames = less;
        }
        Ok(())
    };
    for number in (0..frames.len()).rev() {
        attempt(&mut frames, &|frames| drop(frames.remove(number)))?;
    }
    for number in 0..frames.len() {
        let mut by = frames[number].len() / 2;
        while by > 0 {
            attempt(&mut frames, &|frames| {
                let length = frames[number].len().saturating_sub(by).max(14);
                frames[number].truncate(length);
            })?;
            by /= 2;
        }
        for at in 0..frames[number].len().min(200) {
            if frames[number][at] != 0 {
                attempt(&mut frames, &|frames| frames[number][at] = 0)?;
            }
        }
    }
    Ok(frames)
}
