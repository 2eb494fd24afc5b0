//! The two runners: the stages over plain memory, and the loaded program by
//! `BPF_PROG_TEST_RUN`. Both take their tables from the same writer.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{Counters, FragmentBucket, HashAlgorithm, Limit, pin::DEFAULT_PINS};
use lb_ebpf::{Action, Routed, Tables};
use lb_user::{
    dataplane::{Dataplane, Opened, Options, PROGRAM, memory::Memory, writer::Writer},
    decide::Intent,
    object::object,
    secret,
};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use super::{cases::Before, wire::Wire, world::World};
use crate::owner::Owner;

/// Room for what a program may put in front of a packet.
const HEADROOM: usize = 256;
const SECOND: u64 = 1_000_000_000;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict; where a redirect goes to is not visible from outside the kernel.
    pub action: Action,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// What was counted.
    pub counters: Counters,
}

/// The secret of all runs.
pub const SECRET: [u8; 16] = *b"not very secret!";

/// Both runners with the same tables.
pub struct Pair {
    /// The host.
    pub world: World,
    /// In memory.
    pub memory: MemoryRunner,
    /// In the kernel.
    pub kernel: KernelRunner,
}

impl Pair {
    /// Runners on a host.
    ///
    /// # Errors
    /// See [`KernelRunner::new`].
    pub fn new(world: World, hash: HashAlgorithm) -> Result<Self> {
        let intent = world.intent();
        let memory = MemoryRunner::new(&intent, hash)?;
        Ok(Self { world, memory, kernel: KernelRunner::new(&intent, hash)? })
    }

    /// Forgets what earlier packets left.
    pub fn forget(&self) {
        forget(&self.memory.memory);
        forget(self.kernel.opened.dataplane.memory());
    }

    /// What is in memory, and what the kernel has.
    pub fn memories(&self) -> [&Memory; 2] {
        [&self.memory.memory, self.kernel.opened.dataplane.memory()]
    }

    /// Runs one frame in both, as the first one within a second.
    ///
    /// # Errors
    /// If the kernel cannot run it.
    pub fn run(&mut self, frame: &[u8]) -> Result<(Outcome, Outcome)> {
        for memory in [&self.memory.memory, &**self.kernel.opened.dataplane.memory()] {
            answered(memory, 0);
        }
        Ok((self.memory.run(frame), self.kernel.run(frame)?))
    }
}

/// Which of its two ways a packet goes in memory; both end alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The short one, if it is plain.
    Short,
    /// Through all stages.
    Stages,
}

/// Runs frames in memory.
pub struct MemoryRunner {
    /// The tables.
    pub memory: Memory,
    /// Their writer.
    pub writer: Writer,
    /// Packets by reason so far.
    pub counters: Counters,
    /// Which way packets go.
    pub way: Way,
}

impl MemoryRunner {
    /// A runner with this plan in force.
    ///
    /// # Errors
    /// There is no memory, or the plan does not fit.
    pub fn new(intent: &Intent, hash: HashAlgorithm) -> Result<Self> {
        let memory = Memory::anonymous()?;
        memory.secret.set(0, secret::expand(&SECRET, hash));
        let mut writer = Writer::adopt(&memory);
        writer.commit(&memory, intent)?;
        Ok(Self { memory, writer, counters: Counters::default(), way: Way::Short })
    }

    /// Runs one frame.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        run_in(&self.memory, &mut self.counters, frame, (Routed::ByHost, false), self.way)
    }
}

/// Runs one frame in memory, on a host that does this with all that it forwards; perhaps without room
/// in front of it.
pub fn run_in(
    memory: &Memory,
    counters: &mut Counters,
    frame: &[u8],
    (routed, tight): (Routed, bool),
    way: Way,
) -> Outcome {
    let mut wire = Wire::new(frame, routed, tight);
    let verdict = match way {
        Way::Short => lb_ebpf::process(&mut wire, memory),
        Way::Stages => lb_ebpf::staged(&mut wire, memory),
    };
    let mut counted = memory.noted();
    counted.count(verdict.reason());
    counters.add(&counted);
    Outcome { action: verdict.action(), frame: wire.into_bytes(), counters: counted }
}

/// Runs frames through the program that the kernel has loaded.
pub struct KernelRunner {
    /// The data plane, attached to nothing.
    pub opened: Opened,
    directory: PathBuf,
}

impl KernelRunner {
    /// A program and maps of its own, with this plan in force.
    ///
    /// # Errors
    /// The kernel refuses the program, or the plan does not fit.
    pub fn new(intent: &Intent, hash: HashAlgorithm) -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = Owner::this().bpffs_of(number);
        let object = object().context("built without the XDP object: use `cargo xtask test`")?;
        let opened = Dataplane::open(&Options {
            object,
            bpffs: &directory,
            interfaces: &[],
            secret: Some(SECRET),
            hash,
            pins: DEFAULT_PINS,
        })?;
        let mut runner = Self { opened, directory };
        runner.opened.dataplane.commit(intent)?;
        Ok(runner)
    }

    /// The directory of its pins.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Runs one frame.
    ///
    /// # Errors
    /// If the kernel cannot run it.
    pub fn run(&self, frame: &[u8]) -> Result<Outcome> {
        let before = self.opened.dataplane.counters()?;
        let ((action, frame), _) = run_repeated(&self.opened.ebpf, frame, 1)?;
        let after = self.opened.dataplane.counters()?;
        Ok(Outcome { action, frame, counters: difference(&before, &after)? })
    }
}

/// Runs a frame through the loaded program, and what it becomes again, so many times: the last
/// verdict, the frame afterwards, and what a run took on average.
///
/// # Errors
/// If the kernel cannot run it.
pub fn run_repeated(
    ebpf: &Ebpf,
    frame: &[u8],
    repeat: u32,
) -> Result<((Action, Vec<u8>), Duration)> {
    let program: &Xdp = ebpf.program(PROGRAM).context("the program")?.try_into()?;
    let mut out = vec![0; frame.len() + HEADROOM];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    options.repeat = repeat;
    let result = program.test_run(options)?;
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Tx,
        4 => Action::Redirect,
        other => anyhow::bail!("the program returned {other}"),
    };
    out.truncate(result.data_size_out as usize);
    Ok(((action, out), result.duration))
}

impl Drop for KernelRunner {
    fn drop(&mut self) {
        // Maps and program live as long as their descriptors; the pins are this runner's own.
        if let Ok(entries) = std::fs::read_dir(&self.directory) {
            for entry in entries.flatten() {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// What was counted between two readings.
///
/// # Errors
/// If a counter went backwards.
pub fn difference(before: &Counters, after: &Counters) -> Result<Counters> {
    let mut delta = Counters::default();
    for ((reason, old), (_, new)) in before.iter().zip(after.iter()) {
        ensure!(new >= old, "{} went from {old} to {new}", reason.name());
        for _ in old..new {
            delta.count(reason);
        }
    }
    Ok(delta)
}

/// Works on one CPU, in a network namespace of its own without routes and neighbours: what the
/// kernel would do with packets of its own is nothing.
///
/// # Errors
/// Those of the work, or this process may not.
pub fn alone<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let inside = || {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        let mut one = CpuSet::new();
        let cpu = nix::sched::sched_getcpu()?;
        one.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        work()
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Forgets all fragments and answers.
pub fn forget(memory: &Memory) {
    for bucket in 0..memory.fragments.len() {
        memory.fragments.set(bucket, FragmentBucket::default());
    }
    answered(memory, 0);
}

/// Brings about what happens before a frame comes.
pub fn before(memory: &Memory, what: Before) {
    match what {
        Before::Nothing => {}
        Before::Seconds(seconds) => older(memory, seconds),
        Before::Answers(sent) => answered(memory, sent),
    }
}

/// The second that answers are counted in.
pub fn second(memory: &Memory) -> u64 {
    memory.now() / SECOND
}

/// As if so many answers had been sent within this second, by each CPU.
fn answered(memory: &Memory, sent: u64) {
    let limit = Limit { second: second(memory), sent, ..Limit::default() };
    for cpu in 0..memory.limits.len() {
        memory.limits.set(cpu, limit);
    }
}

/// As if all that is remembered of fragments had come so many seconds earlier.
fn older(memory: &Memory, seconds: u16) {
    for bucket in 0..memory.fragments.len() {
        let mut fragments = memory.fragments.get(bucket).unwrap_or_default();
        for word in fragments.ways.iter_mut().filter(|word| **word != 0) {
            let then = ((*word >> 16) as u16).wrapping_sub(seconds);
            *word = *word & !(0xffff << 16) | u64::from(then) << 16;
        }
        memory.fragments.set(bucket, fragments);
    }
}
