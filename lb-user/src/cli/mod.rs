//! The command line: names, arguments, exit codes. One file a command.
//!
//! Exit: 0 done, 1 refused or failed, 2 usage. With `--format json` standard output is one
//! document, or one a line, and everything else goes to standard error.

mod agent;
mod check;
mod detach;
mod explain;
mod lines;
mod order;
mod plan;
mod run;
mod status;
mod trace;
mod whatif;

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::bail;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};

use crate::{
    config::{self, Checked, Config, ConfigErrors, Diagnostic},
    daemon::events,
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
    Run(run::Args),
    /// Check a configuration and say all that is wrong with it.
    Check(check::Args),
    /// Show who would carry what, and what would move, while some nodes are down.
    Plan(plan::Args),
    /// Follow flows through the tables: which cluster, which node, and why not the others.
    Explain(explain::Args),
    /// Run frames through the XDP program's stages: verdict, reason, and the frame afterwards.
    Trace(trace::Args),
    /// Ask the running daemon where traffic goes, and why.
    Status(status::Args),
    /// Let a recovered cluster that is held back take its flows home.
    Release(order::Release),
    /// Give a node or cluster no new flows; the connections that it has may end.
    Drain(order::Whom),
    /// Put a node, or all of a cluster, in service again.
    Undrain(order::Whom),
    /// As drain, and without checks; what is left is cut at the drain limit.
    Maintain(order::Whom),
    /// Have the running daemon read its configuration again. A bad one changes nothing.
    Reload(order::Daemon),
    /// Answer the survey on a node, from real checks of its servers. Runs in the foreground.
    Agent(agent::Args),
    /// Take program, links and tables off this host. The daemon must have ended.
    Detach(detach::Args),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Format> for events::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// The arguments are well-formed and still ask for what there is not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let done = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Release(args) => order::release(args),
        Command::Drain(args) => order::drain(args),
        Command::Undrain(args) => order::undrain(args),
        Command::Maintain(args) => order::maintain(args),
        Command::Reload(args) => order::reload(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Detach(args) => detach::run(args),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(usage) = error.downcast_ref::<Usage>() {
        refuse(matches.subcommand_name().unwrap_or_default(), usage);
    }
    // Who closes our output early has seen enough.
    let closed = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if closed == Some(io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", in_full(&error));
    ExitCode::FAILURE
}

/// The message and what caused it, each said once; a backtrace is for defects, which panic.
fn in_full(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Ends as for wrong arguments of a command.
fn refuse(command: &str, usage: &Usage) -> ! {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut(command).cloned();
    command.unwrap_or(cli).error(ErrorKind::ValueValidation, usage).exit()
}

/// Reads a configuration; its warnings go to standard error.
fn load(file: &Path) -> anyhow::Result<Config> {
    let loaded = config::load(file).map(|Checked { config, warnings }| (config, warnings));
    told(file, loaded, "; nothing was changed")
}

/// What was read of a file. Warnings go to standard error, and so do errors, and what follows them.
fn told<T>(
    file: &Path,
    loaded: Result<(T, Vec<Diagnostic>), ConfigErrors>,
    then: &str,
) -> anyhow::Result<T> {
    let color = io::stderr().is_terminal();
    match loaded {
        Ok((value, warnings)) => {
            eprint!("{}", config::render(&warnings, color));
            Ok(value)
        }
        Err(errors) => {
            eprint!("{}", config::render(errors.diagnostics(), color));
            let number = errors.diagnostics().len();
            let s = if number == 1 { "" } else { "s" };
            bail!("{}: {number} error{s}{then}", file.display());
        }
    }
}

/// Writes to standard output.
fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}
