//! `cargo xtask run`: the lab, or the daemon with a configuration; root only for them.

use crate::paths::Paths;
use crate::toolchain::Want;
use crate::{build, process, setup};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the daemon with this configuration instead of the lab.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's interface.
    #[arg(long, value_name = "NAME", requires = "config")]
    iface: Option<String>,
    /// How long the lab lasts, for example 20s.
    #[arg(long = "for", value_name = "TIME", conflicts_with = "config")]
    time: Option<String>,
    /// How the lab's load balancer forwards: l2, ipip, gue or nat.
    #[arg(long, value_name = "MODE", conflicts_with = "config")]
    forward: Option<String>,
    /// The IP version of the lab's VIP and nodes: 4 or 6.
    #[arg(long, value_name = "VERSION", conflicts_with = "config")]
    family: Option<String>,
    /// Where the lab writes its summary.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    json: Option<PathBuf>,
}

/// Builds as who we are, then becomes the program, as root.
pub(crate) fn run(paths: &Paths, args: &Args, install: bool) -> Result<ExitCode> {
    let want = if args.config.is_some() { Want::Build } else { Want::Lab };
    let ready = setup::setup(paths, want, install)?;
    let scope = build::Scope::Programs;
    build::build(paths, &ready, &build::Args::default(), scope)?;
    let (program, arguments) = words(args);
    let program = paths.program(program);
    let mut command = process::as_root(&program)?;
    // Not a child: the terminal, the signals and the exit status are the program's own.
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

fn words(args: &Args) -> (&'static str, Vec<OsString>) {
    let mut words: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: OsString| words.extend([name.into(), value]);
    if let Some(time) = &args.time {
        option("--for", time.into());
    }
    if let Some(forward) = &args.forward {
        option("--forward", forward.into());
    }
    if let Some(family) = &args.family {
        option("--family", family.into());
    }
    if let Some(json) = &args.json {
        option("--json", json.into());
    }
    if let Some(config) = &args.config {
        option("--config", config.into());
    }
    if let Some(iface) = &args.iface {
        option("--iface", iface.into());
    }
    if args.config.is_none() {
        return ("lab", words);
    }
    words.insert(0, "run".into());
    ("understudy", words)
}
