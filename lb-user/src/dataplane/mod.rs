//! Loads, attaches, pins, and writes what it is told, verbatim. Decides nothing.

pub mod attach;
pub mod cells;
pub mod display;
mod forget;
pub mod grace;
pub mod life;
pub mod live;
pub mod memory;
pub mod pins;
mod records;
pub mod vips;
pub mod watched;
pub mod writer;

use std::{collections::BTreeSet, io, path::Path, sync::Arc};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, Xdp},
};
use lb_common::{Counters, HashAlgorithm, HashKey, maps, pin::PIN_WAYS};
use nix::time::{ClockId, clock_gettime};
use thiserror::Error;

use crate::{
    decide::{Intent, Remembered},
    secret,
};
use attach::{AttachError, Attached, Target};
use display::Display;
use forget::Forgetting;
use grace::Grace;
use memory::Memory;
use pins::{Found, PinDir};
use writer::{CommitError, Writer};

/// The name of the program in the object and in the kernel.
pub const PROGRAM: &str = "understudy";

/// The data plane of this host, in this process's hands.
pub struct Dataplane {
    _pins: PinDir,
    memory: Arc<Memory>,
    writer: Writer,
    display: Display,
    forgetting: Forgetting,
}

/// What to bring up.
pub struct Options<'a> {
    /// The XDP object.
    pub object: &'static [u8],
    /// Directory of the pins.
    pub bpffs: &'a Path,
    /// Interfaces by name. Without any nothing is attached, and nothing stays in force.
    pub interfaces: &'a [String],
    /// The secret of the flow hash; `None`: the one in use, else a new one.
    pub secret: Option<[u8; 16]>,
    /// The function of the flow hash.
    pub hash: HashAlgorithm,
    /// How many connections can be pinned, where the map is new: a power of two.
    pub pins: u32,
}

/// A data plane just opened.
pub struct Opened {
    /// The data plane.
    pub dataplane: Dataplane,
    /// For waiting until old generations are free.
    pub grace: Grace,
    /// How the program came to each interface.
    pub attached: Vec<(Target, Attached)>,
    /// Whether tables of an earlier daemon are in force.
    pub adopted: bool,
    /// What was loaded; keep it for its log, if it has one.
    pub ebpf: Ebpf,
}

/// Why the data plane did not come up. What was in force before still is; what this start made is
/// undone.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum OpenError {
    #[error("must run as root: loading and attaching XDP programs needs it")]
    NotRoot,
    #[error(transparent)]
    Pins(#[from] pins::PinError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error("cannot load the XDP object: {0}")]
    Load(#[from] EbpfError),
    #[error("the kernel refuses the XDP program: {0}")]
    Verify(#[from] ProgramError),
    #[error("the XDP object has no XDP program named {PROGRAM}")]
    NoProgram,
    #[error("cannot use a map: {0}")]
    Map(#[from] MapError),
    #[error(transparent)]
    Memory(#[from] memory::OpenError),
    #[error("cannot make a secret: {0}")]
    Secret(#[source] io::Error),
    #[error(
        "the flow hash in force has another {0} than the configuration, and it cannot change \
         while connections live by it: put the old one back, or `understudy detach` first"
    )]
    HashDiffers(&'static str),
}

impl Dataplane {
    /// Brings the data plane up, or takes over the one that is pinned.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: &Options<'_>) -> Result<Opened, OpenError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(OpenError::NotRoot);
        }
        let targets: Vec<Target> =
            options.interfaces.iter().map(|name| attach::target(name)).collect::<Result<_, _>>()?;
        let pins = PinDir::open(options.bpffs)?;
        let found = pins.survey()?;
        match bring_up(options, &pins, found, &targets) {
            Ok(up) => Ok(Opened {
                dataplane: Self {
                    _pins: pins,
                    memory: up.memory,
                    writer: up.writer,
                    display: up.display,
                    forgetting: Forgetting::default(),
                },
                grace: up.grace,
                attached: targets.into_iter().zip(up.attached).collect(),
                adopted: found == Found::Ours,
                ebpf: up.ebpf,
            }),
            Err(error) => {
                if found == Found::Nothing
                    && let Err(left) = pins.undo()
                {
                    tracing::error!("cannot undo the start: {left}");
                }
                Err(error)
            }
        }
    }

    /// Writes an intent and puts it in force.
    ///
    /// # Errors
    /// See [`CommitError`]; the plan in force stays.
    pub fn commit(&mut self, intent: &Intent) -> Result<u64, CommitError> {
        self.forgetting.commit(&mut self.writer, &self.memory, intent)
    }

    /// What is committed from now on goes with this file ([`lb_common::PlanRecord::file`]); while pins
    /// are being forgotten, with none.
    pub fn name_file(&mut self, file: u64) {
        self.forgetting.name_file(file);
    }

    /// The file that goes with what was committed last; 0: none.
    pub fn file(&self) -> u64 {
        self.writer.file()
    }

    /// The files that some generation names.
    pub fn files(&self) -> BTreeSet<u64> {
        let plans = (0..self.memory.heads.len()).filter_map(|i| self.memory.heads.get(i));
        plans.map(|generation| generation.plan.file).filter(|file| *file != 0).collect()
    }

    /// What the generation in force says, for a daemon that goes on with it.
    pub fn remembered(&self) -> Remembered {
        live::remembered(&self.memory, &self.writer)
    }

    /// Removes all pins as soon as packets go by the next plan, of which no slot may have moved; before
    /// that there is no other commit.
    pub fn forget_pins(&mut self) {
        self.forgetting.begin();
    }

    /// How many connections can be pinned.
    pub fn pins(&self) -> u32 {
        self.memory.pins.len() * PIN_WAYS as u32
    }

    /// Shows the plan in force in the maps for people.
    ///
    /// # Errors
    /// What `bpf(2)` says.
    pub fn show(&mut self, intent: &Intent) -> Result<(), MapError> {
        self.display.show(self.writer.epoch(), intent)
    }

    /// Whether a grace period may still free generations and chunks.
    pub fn waits_for_grace(&self) -> bool {
        self.writer.waits_for_grace()
    }

    /// A grace period begun under `epoch` has ended. Whether the plan in force is to be committed again,
    /// since its file may be named only now.
    pub fn graced(&mut self, epoch: u64) -> bool {
        self.writer.graced(epoch);
        self.forgetting.graced(&self.memory, epoch)
    }

    /// The epoch in force.
    pub fn epoch(&self) -> u64 {
        self.writer.epoch()
    }

    /// The live tables.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Packets by reason since the maps were made.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Counters, MapError> {
        self.display.counters()
    }

    /// A sign of life, with the time of CLOCK_MONOTONIC.
    pub fn heartbeat(&self) {
        self.memory.store_heartbeat(monotonic_ns());
    }
}

/// CLOCK_MONOTONIC in nanoseconds, as `CONTROL.heartbeat` has it.
pub fn monotonic_ns() -> u64 {
    // The monotonic clock exists on every Linux; a failure here has no meaning.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|t| std::time::Duration::from(t).as_nanos() as u64)
        .unwrap_or_default()
}

/// Removes program, links and tables. False if there was nothing.
///
/// # Errors
/// A daemon holds them, or a pin cannot be removed.
pub fn detach(bpffs: &Path) -> Result<bool, OpenError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(OpenError::NotRoot);
    }
    if !bpffs.exists() {
        return Ok(false);
    }
    PinDir::open(bpffs)?.remove()?;
    Ok(true)
}

/// What comes up in a directory of pins.
struct Up {
    memory: Arc<Memory>,
    writer: Writer,
    display: Display,
    grace: Grace,
    attached: Vec<Attached>,
    ebpf: Ebpf,
}

fn bring_up(
    options: &Options<'_>,
    pins: &PinDir,
    found: Found,
    targets: &[Target],
) -> Result<Up, OpenError> {
    let mut loader = EbpfLoader::new();
    // A map that is pinned already stays as large as it is.
    loader.map_max_entries(maps::PINS.name, options.pins / PIN_WAYS as u32);
    for spec in maps::ALL {
        loader.map_pin_path(spec.name, pins.map(spec));
    }
    let mut ebpf = loader.load(options.object)?;
    let memory = Arc::new(Memory::open(pins.path())?);
    settle(options, found, &memory)?;

    let program: &mut Xdp = ebpf
        .program_mut(PROGRAM)
        .ok_or(OpenError::NoProgram)?
        .try_into()
        .map_err(|_| OpenError::NoProgram)?;
    program.load()?;

    let mut grace = Grace::open(&pins.map(&maps::GRACE))?;
    // A writer that died may have stored an epoch just now: what it left may still be read.
    grace.wait()?;
    let writer = Writer::adopt(&memory);
    let display = Display::open(pins)?;
    let attached = attach::attach(program, pins, targets)?;
    Ok(Up { memory, writer, display, grace, attached, ebpf })
}

/// Settles layout and hash: writes them into new maps, compares the hash of adopted ones.
fn settle(options: &Options<'_>, found: Found, memory: &Memory) -> Result<(), OpenError> {
    if found == Found::Nothing {
        memory.begin();
        let secret = match options.secret {
            Some(secret) => secret,
            None => secret::generate().map_err(OpenError::Secret)?,
        };
        memory.secret.set(0, secret::expand(&secret, options.hash));
        return Ok(());
    }
    let key: Option<HashKey> = memory.secret.get(0);
    if key.map(|key| key.algorithm) != Some(options.hash as u32) {
        return Err(OpenError::HashDiffers("function"));
    }
    match options.secret {
        Some(secret) if key != Some(secret::expand(&secret, options.hash)) => {
            Err(OpenError::HashDiffers("secret"))
        }
        _ => Ok(()),
    }
}
