//! `understudy run`: the daemon, in the foreground.

use std::{io::IsTerminal, path::PathBuf};

use super::{Format, load};
use crate::daemon;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One more interface to attach to.
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// How events are written to standard output, one a line. The log goes to standard error.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let config = load(&args.config)?;
    log_to_stderr();
    let interfaces = daemon::interfaces(&config, args.iface);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(daemon::run(config, args.config, interfaces, args.format.into()))?;
    Ok(())
}

/// Log lines go to standard error; `UNDERSTUDY_LOG` filters them, `info` by default.
pub(super) fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNDERSTUDY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
