//! The command line: names, arguments, exit codes.
//!
//! Exit: 0 done, 1 refused or failed, 2 usage. With `--format json` standard output is one
//! document and everything else goes to standard error.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    config::{self, Checked, Config},
    control::{self, Request},
    daemon::{self, status},
    dataplane,
};

/// An XDP load balancer that knows who goes on when the star cannot.
#[derive(Parser)]
#[command(name = "understudy", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Attach, watch the nodes, and keep the plan in force. Runs in the foreground.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One more interface to attach to.
        #[arg(long, value_name = "NAME")]
        iface: Option<String>,
    },
    /// Check a configuration and say all that is wrong with it.
    Check {
        /// The configuration.
        file: PathBuf,
    },
    /// Ask the running daemon where traffic goes, and why.
    Status {
        #[command(flatten)]
        daemon: Daemon,
        /// For people or for machines.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Take program, links and tables off this host. The daemon must have ended.
    Detach {
        /// The configuration, for its `bpffs` directory.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The directory of the pins.
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        bpffs: Option<PathBuf>,
    },
}

/// Which daemon to ask.
#[derive(clap::Args)]
struct Daemon {
    /// Its control socket.
    #[arg(long, value_name = "PATH", default_value = config::DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The message, and what caused it; a backtrace is for defects, which panic.
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { config, iface } => run_daemon(&config, iface),
        Command::Check { file } => {
            load(&file)?;
            println!("{}: fine", file.display());
            Ok(())
        }
        Command::Status { daemon, format } => status(&daemon, format),
        Command::Detach { config, bpffs } => {
            let directory = match (bpffs, config) {
                (Some(directory), _) => directory,
                (None, Some(file)) => load(&file)?.lb.bpffs,
                (None, None) => config::DEFAULT_BPFFS.into(),
            };
            if dataplane::detach(&directory)? {
                println!("detached; {} is gone", directory.display());
            } else {
                println!("nothing is attached: there is no {}", directory.display());
            }
            Ok(())
        }
    }
}

fn run_daemon(file: &Path, iface: Option<String>) -> anyhow::Result<()> {
    let config = load(file)?;
    let source = file.to_owned();
    log_to_stderr();
    let interfaces = daemon::interfaces(&config, iface);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(daemon::run(config, source, interfaces))?;
    Ok(())
}

/// Log lines go to standard error; `UNDERSTUDY_LOG` filters them, `info` by default.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("UNDERSTUDY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Reads a configuration; its warnings go to standard error.
fn load(file: &Path) -> anyhow::Result<Config> {
    let color = std::io::stderr().is_terminal();
    match config::load(file) {
        Ok(Checked { config, warnings }) => {
            eprint!("{}", config::render(&warnings, color));
            Ok(config)
        }
        Err(errors) => {
            eprint!("{}", config::render(errors.diagnostics(), color));
            let number = errors.diagnostics().len();
            let s = if number == 1 { "" } else { "s" };
            bail!("{}: {number} error{s}; nothing was changed", file.display());
        }
    }
}

fn status(daemon: &Daemon, format: Format) -> anyhow::Result<()> {
    let answer = control::ask(&daemon.socket, &Request::Status)?;
    match format {
        Format::Json => print!("{answer}"),
        Format::Text => print!("{}", status::text(&serde_json::from_str(&answer)?)),
    }
    Ok(())
}
