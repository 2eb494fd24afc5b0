//! The lab: real packets, a real failover, on this machine, and nothing left of it afterwards.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use harness::{
    lab::{
        judge::Tolerance,
        run::{Settings, run},
        script::Sabotage,
        summary::Summary,
    },
    stop::{self, Stop},
    variant::{Family, Forward, Variant},
};

/// Balances real connections between network namespaces, takes links down and up again, and
/// says whether what the clients saw is what the load balancer planned.
#[derive(Parser)]
struct Arguments {
    /// How long it takes; less than 20s is drawn out until there are enough requests to judge.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// How packets are brought to the nodes.
    #[arg(long, value_enum, default_value_t)]
    forward: Forward,
    /// The IP version of the VIP and the nodes.
    #[arg(long, value_enum, default_value_t)]
    family: Family,
    /// Where to write the summary as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How far a share may be off its plan, in percentage points.
    #[arg(long, value_name = "POINTS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    tolerance: u8,
    /// New requests a second; what else is asked is in proportion.
    #[arg(long, value_name = "NUMBER", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
    /// Break something that the script does not know of; the lab must notice.
    #[arg(long, hide = true, value_enum)]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match lab(&arguments) {
        Ok(summary) => {
            println!("\n{summary}");
            ExitCode::from(u8::from(!summary.held))
        }
        Err(error) => stop::told(&error),
    }
}

/// Runs it. Everything that it made is gone when this returns.
fn lab(arguments: &Arguments) -> Result<Summary> {
    let stop = Stop::on_signals()?;
    stop.also_on_panic();
    let settings = Settings {
        length: arguments.length,
        variant: Variant { forward: arguments.forward, family: arguments.family },
        tolerance: Tolerance { share: f64::from(arguments.tolerance) / 100.0 },
        requests: arguments.rate,
        sabotage: arguments.sabotage,
    };
    let summary = run(settings, &stop)?;
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string(&summary).context("writing the summary")?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(summary)
}
