//! `cargo xtask`: which command runs, and with which options. One file a command.

mod apt;
mod bench;
mod build;
mod ci;
mod host;
mod linker;
mod paths;
mod process;
mod run;
mod servers;
mod setup;
mod test;
mod toolchain;
mod vm;

use clap::{Parser, Subcommand};
use paths::Paths;
use std::process::ExitCode;
use toolchain::Want;

/// Sets up, builds, runs and tests understudy.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Never install anything; say what is missing instead.
    #[arg(long, global = true)]
    no_install: bool,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Show the lab; with --config, run the daemon with that configuration.
    Run(run::Args),
    /// Run all tests: unit and property tests, kernel suites, and those on kernel 6.1.
    Test(test::Args),
    /// Measure: time per packet, from verdict to packets, and beside nftables, HAProxy and nginx.
    Bench(bench::Args),
    /// Build the XDP object and the programs that embed it.
    Build(build::Args),
    /// Find or install what the build needs.
    Setup(setup::Args),
    /// What continuous integration runs: format, clippy, test.
    Ci,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<ExitCode> {
    let paths = Paths::find()?;
    let install = !cli.no_install;
    match &cli.command {
        Cmd::Run(args) => run::run(&paths, args, install),
        Cmd::Test(args) => test::test(&paths, args, install),
        Cmd::Bench(args) => bench::bench(&paths, args, install),
        Cmd::Ci => ci::ci(&paths, install),
        Cmd::Build(args) => {
            let ready = setup::setup(&paths, Want::Build, install)?;
            build::build(&paths, &ready, args, build::Scope::Programs)?;
            Ok(ExitCode::SUCCESS)
        }
        Cmd::Setup(args) => {
            setup::command(&paths, args, install)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
