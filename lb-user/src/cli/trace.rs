//! `understudy trace`: frames through the program, one by one, over a configuration's tables.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use lb_common::Forward;

use super::{
    Format, lines, load, print,
    whatif::{self, Down},
};
use crate::{
    config::Config,
    dataplane::{memory::Memory, writer::Writer},
    decide::Model,
    object::object,
    secret,
    trace::{
        Line, Outcome, Tracer, Whose,
        headers::headers,
        hex,
        kernel::{Kernel, KernelError, difference},
        ways::Ways,
        words,
    },
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Frames in hexadecimal, one a line; - for standard input.
    #[arg(value_name = "FRAMES", default_value = "-")]
    frames: PathBuf,
    /// Run them through the program in the kernel, too, and compare. Touches no interface.
    #[arg(long)]
    kernel: bool,
    #[command(flatten)]
    down: Down,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut bench = Bench::new(args)?;
    let text = lines::read(&args.frames)?;
    let name = lines::name(&args.frames);
    let (mut wrong, mut differ) = (0u32, 0u32);
    for (number, line) in lines::numbered(&text) {
        let frame = match hex::parse(line) {
            Ok(frame) => frame,
            Err(error) => {
                eprintln!("{name}:{number}: {error}");
                wrong += 1;
                continue;
            }
        };
        let at = || format!("{name}:{number}");
        let (outcome, whose, difference) = bench.run(&frame).with_context(at)?;
        if let Some(difference) = difference {
            eprintln!("{name}:{number}: {difference}");
            differ += 1;
        }
        print(&match args.format {
            Format::Json => format!("{}\n", serde_json::to_string(&Line::new(&outcome, &whose))?),
            Format::Text => for_people(number, &frame, &outcome, &whose, &bench.gue_ports),
        })?;
    }
    match (wrong, differ) {
        (0, 0) => Ok(()),
        (0, _) => bail!("{name}: the kernel and the stages in memory differ: a defect"),
        (1, _) => bail!("{name}: 1 line is no frame"),
        _ => bail!("{name}: {wrong} lines are no frames"),
    }
}

/// What frames are run through.
struct Bench {
    tracer: Tracer,
    kernel: Option<Kernel>,
    gue_ports: Vec<u16>,
}

impl Bench {
    fn new(args: &Args) -> anyhow::Result<Self> {
        // Said before anything of the configuration.
        let object = match args.kernel {
            true => Some(object().context("built without the data path, use cargo xtask build")?),
            false => None,
        };
        let config = Arc::new(load(&args.file)?);
        let key = secret::expand(&whatif::secret(&args.file, &config), config.lb.hash);
        let gue_ports = gue_ports(&config);
        let model = Arc::new(Model::new(config));
        let ways = Ways::of(&model);
        for note in &ways.notes {
            eprintln!("{}: {note}", args.file.display());
        }
        let down = args.down.nodes(&model)?;
        let mut host = ways.host.clone();
        if args.kernel {
            // Where replies go would be for the routes of this very host to say.
            host.interfaces = Vec::new();
        }
        let state = whatif::suppose_over(&model, &down, host, |node| ways.hop(node))?;
        let published = state.view().published.context("there is no plan, which is a defect")?;
        let mut intent = (**published).clone();
        ways.unresolve(&mut intent);
        let memory = Memory::anonymous()?;
        memory.secret.set(0, key);
        Writer::adopt(&memory).commit(&memory, &intent)?;
        let kernel = object.map(|object| Kernel::new(object, &intent, key)).transpose()?;
        Ok(Self { tracer: Tracer::new(model, memory, ways.reply), kernel, gue_ports })
    }

    /// What became of a frame, whose it is, and how the kernel's word differs.
    fn run(&mut self, frame: &[u8]) -> Result<(Outcome, Whose, Option<String>), KernelError> {
        let Some(kernel) = &mut self.kernel else {
            let (memory, whose) = self.tracer.run(frame);
            return Ok((memory, whose, None));
        };
        // How many answers there were within this second is the clock's word, which each side asks
        // for itself.
        self.tracer.set_limit(kernel.limit());
        let (memory, whose) = self.tracer.run(frame);
        let outcome = kernel.run(frame)?;
        let same_second = kernel.limit().second == self.tracer.limit().second;
        let difference = difference(&outcome, &memory).filter(|_| same_second);
        Ok((outcome, whose, difference))
    }
}

/// Ports that tunnels of GUE end at.
fn gue_ports(config: &Config) -> Vec<u16> {
    let gue = config.clusters.iter().filter(|cluster| cluster.forward == Forward::Gue);
    gue.map(|cluster| cluster.gue_port).collect()
}

fn for_people(
    number: u32,
    frame: &[u8],
    outcome: &Outcome,
    whose: &Whose,
    gue_ports: &[u16],
) -> String {
    let Outcome { action, reason, packet, .. } = outcome;
    let (verdict, why) = (words::action(*action), words::reason(*reason));
    let mut text = format!("line {number}: {verdict}: {why} ({})\n", reason.name());
    let names = [("service", &whose.service), ("cluster", &whose.cluster), ("node", &whose.node)];
    let named = names.iter().filter_map(|(what, name)| Some(format!("{what} {}", name.as_ref()?)));
    let named = named.collect::<Vec<_>>().join(", ");
    if !named.is_empty() {
        text.push_str(&format!("  {named}\n"));
    }
    let mut show = |way: &str, frame: &[u8]| {
        for header in headers(frame, gue_ports) {
            // A String takes everything.
            let _ = writeln!(text, "  {way:<3}  {:<15} {}", header.what, header.text);
        }
    };
    show("in", frame);
    match action {
        lb_ebpf::Action::Drop => {}
        _ if packet == frame => text.push_str("  out  as it came in\n"),
        _ => show("out", packet),
    }
    text
}
