//! `understudy explain`: where flows go, step by step, over a configuration or the running daemon.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::ArgAction;

use super::{
    Format, Usage, lines, load, print,
    whatif::{self, Down},
};
use crate::{
    config::DEFAULT_SOCKET,
    control::{self, Request},
    dataplane::memory::Memory,
    decide::{Model, State},
    explain::{Answer, Asked, Flow, Source, answer},
};

/// Flows in one request, so that the daemon's loop is not held up.
const FLOWS_A_REQUEST: usize = 64;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Ask what this configuration gives, instead of the running daemon.
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    #[command(flatten)]
    down: Down,
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Flows from a file, or - for standard input: one PROTO SRC:PORT DST:PORT a line.
    #[arg(long, value_name = "FILE", conflicts_with = "flow")]
    flows: Option<PathBuf>,
    /// Ask for a packet of a connection that was opened before, instead of the one that opens it.
    #[arg(long)]
    established: bool,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The flow, for example: tcp 198.51.100.7:40000 192.0.2.10:443
    #[arg(
        action = ArgAction::Set,
        num_args = 3,
        value_names = ["PROTO", "SRC:PORT", "DST:PORT"],
        required_unless_present = "flows"
    )]
    flow: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let who = match &args.config {
        Some(file) => Respondent::config(file, &args.down)?,
        None if args.down.is_empty() => Respondent::Daemon(args.socket.clone()),
        None => return Err(Usage("--down and --down-cluster need --config".to_owned()).into()),
    };
    let Some(file) = &args.flows else {
        let flow = args.flow.join(" ").parse::<Flow>().map_err(|error| Usage(error.to_string()))?;
        return show(&who, &[flow], args);
    };
    let mut flows = Vec::new();
    let mut wrong = 0u32;
    let name = lines::name(file);
    for (number, line) in lines::numbered(&lines::read(file)?) {
        match line.parse::<Flow>() {
            Ok(flow) => flows.push(flow),
            Err(error) => {
                eprintln!("{name}:{number}: {error}");
                wrong += 1;
            }
        }
    }
    show(&who, &flows, args)?;
    match wrong {
        0 => Ok(()),
        1 => bail!("{name}: 1 line is no flow"),
        _ => bail!("{name}: {wrong} lines are no flows"),
    }
}

/// Who answers.
enum Respondent {
    Config { state: Box<State>, memory: Box<Memory> },
    Daemon(PathBuf),
}

impl Respondent {
    fn config(file: &Path, down: &Down) -> anyhow::Result<Self> {
        let config = Arc::new(load(file)?);
        let secret = whatif::secret(file, &config);
        let model = Arc::new(Model::new(config));
        let state = whatif::suppose(&model, &down.nodes(&model)?)?;
        let memory = whatif::commit(&state, &secret)?;
        Ok(Self::Config { state: Box::new(state), memory: Box::new(memory) })
    }

    fn answers(&self, flows: &[Flow], asked: Asked) -> anyhow::Result<Vec<Answer>> {
        match self {
            Self::Config { state, memory } => {
                let view = state.view();
                let one = |flow| answer(&view, memory, Source::Config, flow, asked);
                Ok(flows.iter().map(one).collect())
            }
            Self::Daemon(socket) => {
                let flows = flows.iter().map(Flow::to_string).collect();
                let established = asked == Asked::Established;
                let reply = control::ask(socket, &Request::Explain { flows, established })?;
                serde_json::from_str(&reply).context("the daemon's answer is not understood")
            }
        }
    }
}

fn show(who: &Respondent, flows: &[Flow], args: &Args) -> anyhow::Result<()> {
    let asked = if args.established { Asked::Established } else { Asked::Opener };
    for some in flows.chunks(FLOWS_A_REQUEST) {
        for answer in who.answers(some, asked)? {
            match args.format {
                Format::Json => print(&format!("{}\n", serde_json::to_string(&answer.explained)?))?,
                Format::Text => print(&for_people(&answer))?,
            }
        }
    }
    Ok(())
}

fn for_people(answer: &Answer) -> String {
    let epoch = match answer.explained.epoch {
        0 => String::new(),
        epoch => format!(" (epoch {epoch})"),
    };
    let steps = answer.steps.iter().map(|step| format!("  {:<10} {}\n", step.what, step.text));
    format!("{}{epoch}\n{}", answer.explained.flow, steps.collect::<String>())
}
