//! However a lab or the benchmark ends, nothing of it is left: no namespace, pin, process or file.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::program::Program;
use crate::{owner::Owner, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("cleanup/after-a-run", after_a_run),
    Case::network("cleanup/after-sigint", || after_signal(Signal::SIGINT)),
    Case::network("cleanup/after-sigterm", || after_signal(Signal::SIGTERM)),
    Case::network("cleanup/after-a-panic", after_a_panic),
    Case::network("cleanup/after-kill-9-by-the-next", after_kill),
    Case::network("cleanup/benchmark-after-sigint", benchmark_after_sigint),
];

/// A lab that takes no longer than it must.
const SHORT: [&str; 6] = ["--for", "1s", "--rate", "500", "--tolerance", "8"];

fn after_a_run() -> Result<()> {
    let mut lab = Program::lab(&SHORT)?;
    lab.held()?;
    nothing_of(lab.owner())
}

fn after_signal(signal: Signal) -> Result<()> {
    // In the middle: a link is down, and the daemon is about to say so.
    interrupted(Program::lab(&SHORT)?, "== the link of a1 goes down", signal)
}

fn benchmark_after_sigint() -> Result<()> {
    // Of the benchmark's own object the control plane needs nothing.
    let arguments = ["control", "--quick", "--programs", "/dev/null"];
    // From here on programs are loaded, and their maps pinned.
    interrupted(Program::start("bench", &arguments)?, "control plane: commits", Signal::SIGINT)
}

/// Sends a signal once a program has said something; it has to end, and to say that it was not to.
fn interrupted(mut program: Program, after: &str, signal: Signal) -> Result<()> {
    program.until_it_says(after)?;
    program.signal(signal)?;
    let status = program.end()?;
    ensure!(status.code() == Some(130), "{status} after {signal}; {}", program.last_words());
    nothing_of(program.owner())
}

fn after_a_panic() -> Result<()> {
    let mut lab = Program::lab(&[&SHORT[..], &["--sabotage", "panic"]].concat())?;
    let status = lab.end()?;
    ensure!(status.code() == Some(101), "{status} after a panic; {}", lab.last_words());
    nothing_of(lab.owner())
}

fn after_kill() -> Result<()> {
    let mut killed = Program::lab(&SHORT)?;
    killed.until_it_says("== the link of a1 goes down")?;
    killed.signal(Signal::SIGKILL)?;
    let status = killed.end()?;
    ensure!(status.signal() == Some(9), "{status} after SIGKILL");
    let left = killed.owner().traces();
    ensure!(!left.is_empty(), "a killed lab left nothing; this case proves nothing then");

    let mut next = Program::lab(&SHORT)?;
    next.held()?;
    nothing_of(killed.owner())?;
    nothing_of(next.owner())
}

fn nothing_of(owner: Owner) -> Result<()> {
    let left = owner.traces();
    ensure!(left.is_empty(), "{owner} left {}", left.join(", "));
    Ok(())
}
