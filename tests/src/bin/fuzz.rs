//! Fuzzes the packet's way for as long as it is told: memory against the kernel's program. Needs
//! root. The last line counts, as that of the suites does.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use harness::{owner, pipeline};

/// Finds frames of which the kernel's program makes something else than the same stages in memory, or
/// something that cannot be right.
#[derive(Parser)]
struct Arguments {
    /// Where the numbers begin; a run is repeated by its seed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long.
    #[arg(long = "for", default_value = "1m", value_parser = humantime::parse_duration)]
    time: Duration,
    /// The directory where what is found is written to.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))]
    keep: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => {
            println!("1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("error: {error:#}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "this needs root");
    owner::mount_bpffs()?;
    owner::clear_dead()?;
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => now()?.as_secs(),
    };
    println!("seed {seed}, for {}", humantime::format_duration(arguments.time));
    let ran = pipeline::fuzz(seed, arguments.time, Some(&arguments.keep))?;
    println!("{} frames, {} of them sent on", ran.frames, ran.sent);
    Ok(())
}
