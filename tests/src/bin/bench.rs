//! `bench`: measures, and says what it saw. `cargo xtask bench` builds and starts it.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use harness::{
    bench::{Report, control, field, machine::Machine, packets},
    owner,
    stop::{self, Stop},
};

/// Measures on this machine; needs root.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything if nothing is named.
    parts: Vec<Part>,
    /// The object with the benchmark's own programs.
    #[arg(long, value_name = "FILE")]
    programs: PathBuf,
    /// A few rounds only, for a look.
    #[arg(long)]
    quick: bool,
    /// Write all figures there.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the times per packet there.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Time per packet.
    Packets,
    /// From a verdict to the packets that see it.
    Control,
    /// The same work done by nftables, HAProxy and nginx.
    Field,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => stop::told(&error),
    }
}

/// Measures what is wanted, and tells of it. All that it made is gone when this returns.
fn measure(arguments: &Arguments) -> Result<()> {
    let stop = Stop::on_signals()?;
    stop.also_on_panic();
    ensure!(nix::unistd::geteuid().is_root(), "this needs root");
    owner::mount_bpffs()?;
    owner::clear_dead()?;
    let programs = fs::read(&arguments.programs)
        .with_context(|| format!("reading {}", arguments.programs.display()))?;
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let machine = Machine::this()?;
    println!("{machine}\n");
    let mut report = Report { machine, packets: None, control: None, field: None };
    if wanted(Part::Packets) {
        let section = packets::run(&programs, arguments.quick, &stop)?;
        println!("{}", section.table());
        report.packets = Some(section);
    }
    if wanted(Part::Control) {
        let section = control::run(arguments.quick, &stop)?;
        println!("{}", section.table());
        report.control = Some(section);
    }
    if wanted(Part::Field) {
        let section = field::run(&programs, arguments.quick, &stop)?;
        println!("{}", section.table());
        report.field = Some(section);
    }
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    if let (Some(file), Some(section)) = (&arguments.svg, &report.packets) {
        section.draw(file, &report.machine)?;
    }
    Ok(())
}
