//! The two runners: the stages over plain memory, and the loaded program by
//! `BPF_PROG_TEST_RUN`. Both take their tables from the same writer.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use aya::{
    Ebpf,
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{Counters, HashAlgorithm};
use lb_ebpf::Action;
use lb_user::{
    dataplane::{Dataplane, Opened, Options, PROGRAM, memory::Memory, writer::Writer},
    decide::Intent,
    object::object,
    packet::Packet,
    secret,
};

use super::world::INGRESS;
use crate::owner::Owner;

/// Room for what a program may put in front of a packet.
const HEADROOM: usize = 256;

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

/// Runs frames in memory.
pub struct MemoryRunner {
    /// The tables.
    pub memory: Memory,
    /// Their writer.
    pub writer: Writer,
    /// Packets by reason so far.
    pub counters: Counters,
}

impl MemoryRunner {
    /// A runner with this plan in force.
    pub fn new(intent: &Intent, hash: HashAlgorithm) -> anyhow::Result<Self> {
        let memory = Memory::anonymous()?;
        memory.secret.set(0, secret::expand(&SECRET, hash));
        let mut writer = Writer::adopt(&memory);
        writer.commit(&memory, intent)?;
        Ok(Self { memory, writer, counters: Counters::default() })
    }

    /// Runs one frame.
    pub fn run(&mut self, frame: &[u8]) -> Outcome {
        let mut packet = Packet { ingress: INGRESS, ..Packet::new(frame.to_vec()) };
        let verdict = lb_ebpf::process(&mut packet, &self.memory);
        self.counters.count(verdict.reason);
        let mut counters = Counters::default();
        counters.count(verdict.reason);
        Outcome { action: verdict.action, frame: packet.bytes, counters }
    }
}

/// Runs frames through the program that the kernel has loaded.
pub struct KernelRunner {
    /// The data plane, attached to nothing.
    pub opened: Opened,
    directory: PathBuf,
}

impl KernelRunner {
    /// A program and maps of its own, with this plan in force.
    pub fn new(intent: &Intent, hash: HashAlgorithm) -> anyhow::Result<Self> {
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
    pub fn run(&self, frame: &[u8]) -> anyhow::Result<Outcome> {
        let before = self.opened.dataplane.counters()?;
        let (action, frame) = run_raw(&self.opened.ebpf, frame)?;
        let after = self.opened.dataplane.counters()?;
        Ok(Outcome { action, frame, counters: difference(&before, &after)? })
    }
}

/// Runs one frame through the loaded program: its verdict, and the frame afterwards.
pub fn run_raw(ebpf: &Ebpf, frame: &[u8]) -> anyhow::Result<(Action, Vec<u8>)> {
    Ok(run_repeated(ebpf, frame, 1)?.0)
}

/// Runs a frame through the loaded program, and what it becomes again, so many times: the last
/// verdict, the frame afterwards, and what a run took on average.
pub fn run_repeated(
    ebpf: &Ebpf,
    frame: &[u8],
    repeat: u32,
) -> anyhow::Result<((Action, Vec<u8>), Duration)> {
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
pub fn difference(before: &Counters, after: &Counters) -> anyhow::Result<Counters> {
    let mut delta = Counters::default();
    for ((reason, old), (_, new)) in before.iter().zip(after.iter()) {
        ensure!(new >= old, "{} went from {old} to {new}", reason.name());
        for _ in old..new {
            delta.count(reason);
        }
    }
    Ok(delta)
}
