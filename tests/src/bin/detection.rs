//! Measures how long a node that fails, or says that it will, still gets new requests.
//!
//! As root, after `cargo xtask build`: `target/release/detection [--trials N] [--json FILE]`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use harness::{
    detection::{Way, measure},
    stop::Stop,
};

/// Detection times as distributions.
#[derive(Parser)]
struct Arguments {
    /// Trials of each way.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    trials: u16,
    /// New requests a second.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(100..=10_000))]
    rate: u32,
    /// Where to write every time as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stop = Stop::on_signals()?;
    println!("{:<30}{:>9}{:>9}{:>9}{:>9}{:>7}", "ms", "min", "median", "p90", "max", "trials");
    let mut all = Vec::new();
    for way in Way::ALL {
        let distribution = measure(&stop, way, arguments.trials.into(), arguments.rate)?;
        println!("{distribution}");
        all.push(distribution);
    }
    if let Some(file) = arguments.json {
        let text = serde_json::to_string(&all)?;
        std::fs::write(&file, text + "\n")
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
