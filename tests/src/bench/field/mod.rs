//! Understudy beside what a user would pick on this machine without it: nftables, HAProxy and nginx, and
//! no load balancer at all as the ceiling. All do the same work on the same wires, in interleaved
//! rounds.
//!
//! Clients, switch, load balancer and nodes share this machine's CPUs, so rates say less of a load
//! balancer than its CPU time ([`cpu`]) does, and that is what to look at. Of the contenders, `nat` does
//! what the others do; `l2` and `ipip` never see the answers, which is their point.

mod cpu;
mod flood;
mod load;
mod phases;
mod rivals;
mod section;
mod stage;

use std::{thread, time::Duration};

use anyhow::{Context, Result};

pub use section::{Packets, Round, Row, Section};

use self::{cpu::machine_busy, phases::Lengths, stage::Contender};
use crate::{clock::Moment, stop::Stop};

/// How often every contender has its turn.
const ROUNDS: usize = 3;
const FULL: Lengths =
    Lengths { phase: Duration::from_millis(1500), long: Duration::from_millis(2500) };
const QUICK: Lengths =
    Lengths { phase: Duration::from_millis(400), long: Duration::from_millis(800) };

/// Over how long it is looked whether the machine is quiet, and how often at most.
const LOOK: Duration = Duration::from_millis(200);
const LOOKS: u32 = 25;
/// Of one CPU, what may be busy on a quiet machine.
const QUIET: f64 = 0.1;

/// Runs it: three rounds in a few minutes, or, if it is to be quick, one short one for a look.
/// `object` has the benchmark's programs.
///
/// # Errors
/// If this is not root, a contender is not there or does not do its work, or the switch is pulled. What
/// was made is gone then.
pub fn run(object: &[u8], quick: bool, stop: &Stop) -> Result<Section> {
    let (lengths, rounds) = if quick { (QUICK, 1) } else { (FULL, ROUNDS) };
    let mut busy_turns = 0;
    let mut results = Contender::ALL.map(|contender| (contender, Vec::new()));
    for number in 1..=rounds {
        for (contender, results) in &mut results {
            let name = contender.name();
            eprintln!("comparison: round {number} of {rounds}, {name}");
            if !becomes_quiet(stop)? {
                eprintln!("warning: this machine is busy with something else");
                busy_turns += 1;
            }
            let round = phases::round(*contender, object, lengths, stop);
            results.push(round.with_context(|| format!("comparison: {name}"))?);
        }
    }
    let cpus = thread::available_parallelism()?.get();
    Section::of(&results, cpus, busy_turns).context("no rounds")
}

/// Waits until what was before has settled; false if something goes on.
fn becomes_quiet(stop: &Stop) -> Result<bool> {
    for _ in 0..LOOKS {
        let (begin, busy) = (Moment::now(), machine_busy(Moment::now())?);
        stop.wait(LOOK)?;
        if machine_busy(Moment::now())? - busy < QUIET * begin.elapsed().as_secs_f64() {
            return Ok(true);
        }
    }
    Ok(false)
}
