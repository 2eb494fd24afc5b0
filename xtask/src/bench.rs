//! `cargo xtask bench`: builds as who we are, measures as root.

use crate::paths::Paths;
use crate::toolchain::Want;
use crate::{build, process, setup};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Parts of the benchmark, of packets, control and field; all of them if none is named.
    #[arg(value_name = "PART")]
    parts: Vec<String>,
    /// A few rounds only, for a look.
    #[arg(long)]
    quick: bool,
    /// Where all figures are written [default: bench.json in the target directory].
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the times per packet are drawn [default: bench.svg in the target directory].
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Builds, then becomes the program, as root.
pub(crate) fn bench(paths: &Paths, args: &Args, install: bool) -> Result<ExitCode> {
    let ready = setup::setup(paths, Want::Bench, install)?;
    build::build(paths, &ready, &build::Args::default(), build::Scope::Programs)?;
    let programs = build::bench_object(paths, &ready)?;
    let program = paths.program("bench");
    let file =
        |given: &Option<PathBuf>, name| given.clone().unwrap_or_else(|| paths.target.join(name));
    let mut command = process::as_root(&program)?;
    command.args(&args.parts).arg("--programs").arg(programs);
    command.arg("--json").arg(file(&args.json, "bench.json"));
    command.arg("--svg").arg(file(&args.svg, "bench.svg"));
    if args.quick {
        command.arg("--quick");
    }
    // Not a child: the terminal, the signals and the exit status are the program's own.
    let error = command.exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
