//! The same frames through the program that the kernel has loaded, by `BPF_PROG_TEST_RUN`: no
//! interface is touched, and nothing is pinned, so nothing stays however this process ends.

use std::io;

use aya::{
    EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, TestRun, TestRunOptions, Xdp},
};
use lb_common::{Counters, HashKey, Limit, Reason, layout::LIMITS, maps};
use lb_ebpf::Action;
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use thiserror::Error;

use super::{Outcome, hex, words};
use crate::{
    dataplane::{
        PROGRAM,
        display::Counts,
        memory::{self, Memory},
        writer::{CommitError, Writer},
    },
    decide::Intent,
    packet::Packet,
};

/// The shortest frame that the kernel takes: an Ethernet header.
const SHORTEST: usize = 14;

/// A program of its own in the kernel, with tables of its own.
pub struct Kernel {
    ebpf: aya::Ebpf,
    counts: Counts,
    counted: Counters,
    memory: Memory,
    cpu: usize,
}

/// The kernel does not run frames.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum KernelError {
    #[error("must run as root: loading an XDP program needs it")]
    NotRoot,
    #[error("cannot load the XDP object: {0}")]
    Load(#[from] EbpfError),
    #[error("the kernel refuses the XDP program: {0}")]
    Verify(#[source] ProgramError),
    #[error("the XDP object has no XDP program named {PROGRAM}, or no map {name}", name = maps::COUNTERS.name)]
    NotOurs,
    #[error("cannot use a map: {0}")]
    Map(#[from] MapError),
    #[error(transparent)]
    Memory(#[from] memory::OpenError),
    #[error("cannot put the plan in force: {0}")]
    Commit(#[from] CommitError),
    #[error("cannot stay on one CPU: {0}")]
    Cpu(#[source] io::Error),
    #[error("the kernel runs no frame of less than {SHORTEST} bytes")]
    TooShort,
    #[error("the kernel does not run the frame: {0}")]
    Run(#[source] ProgramError),
    #[error("the program returned {0}, which is no verdict of it")]
    Verdict(u32),
    #[error("the program counted the frame {0} times")]
    Counted(u64),
}

impl Kernel {
    /// Loads the object and puts a plan in force in it.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn new(object: &[u8], intent: &Intent, key: HashKey) -> Result<Self, KernelError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(KernelError::NotRoot);
        }
        let cpu = one_cpu().map_err(KernelError::Cpu)?;
        let mut ebpf = EbpfLoader::new().load(object)?;
        let program = ebpf.program_mut(PROGRAM).ok_or(KernelError::NotOurs)?;
        let program: &mut Xdp = program.try_into().map_err(|_| KernelError::NotOurs)?;
        program.load().map_err(KernelError::Verify)?;
        // The program holds its maps from now on, whoever else lets them go.
        let memory = Memory::take(&mut ebpf)?;
        let counts = ebpf.take_map(maps::COUNTERS.name).ok_or(KernelError::NotOurs)?;
        let counts = Counts::of(counts)?;
        memory.begin();
        memory.secret.set(0, key);
        Writer::adopt(&memory).commit(&memory, intent)?;
        let counted = counts.read()?;
        Ok(Self { ebpf, counts, counted, memory, cpu })
    }

    /// Runs one frame.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome, KernelError> {
        if frame.len() < SHORTEST {
            return Err(KernelError::TooShort);
        }
        let program = self.ebpf.program(PROGRAM).ok_or(KernelError::NotOurs)?;
        let program: &Xdp = program.try_into().map_err(|_| KernelError::NotOurs)?;
        let mut packet = vec![0; frame.len() + Packet::HEADROOM];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut packet);
        let result = program.test_run(options).map_err(KernelError::Run)?;
        packet.truncate(result.data_size_out as usize);
        // As `linux/bpf.h` numbers them.
        let action = match result.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Tx,
            4 => Action::Redirect,
            other => return Err(KernelError::Verdict(other)),
        };
        let (reason, counters) = self.news()?;
        Ok(Outcome { action, reason, packet, counters })
    }

    /// The program's answers of its own within a second.
    #[must_use]
    pub fn limit(&self) -> Limit {
        // Elements are by the low bits of the CPU's number.
        self.memory.limits.get(self.cpu as u32 & (LIMITS - 1)).unwrap_or_default()
    }

    /// What was counted since it was asked last: one reason of a verdict, and perhaps others beside it.
    fn news(&mut self) -> Result<(Reason, Counters), KernelError> {
        let now = self.counts.read()?;
        let both = self.counted.iter().zip(now.iter());
        let news: Vec<(Reason, u64)> = both
            .map(|((reason, before), (_, now))| (reason, now.wrapping_sub(before)))
            .filter(|(_, count)| *count > 0)
            .collect();
        self.counted = now;
        let mut verdicts = news.iter().filter(|(reason, _)| !reason.is_beside());
        let (Some(&(reason, 1)), None) = (verdicts.next(), verdicts.next()) else {
            return Err(KernelError::Counted(news.iter().map(|(_, count)| count).sum()));
        };
        let mut counters = Counters::default();
        news.iter().for_each(|&(reason, times)| counters.count_times(reason, times));
        Ok((reason, counters))
    }
}

/// How what the kernel did with a frame differs from what was done in memory.
#[must_use]
pub fn difference(kernel: &Outcome, memory: &Outcome) -> Option<String> {
    let in_short = |Outcome { action, reason, packet, .. }: &Outcome| {
        format!("{} {} {}", words::action(*action), reason.name(), hex::print(packet))
    };
    (kernel != memory)
        .then(|| format!("the kernel: {}; in memory: {}", in_short(kernel), in_short(memory)))
}

/// Stays on one CPU, as the rate of answers is each CPU's own.
fn one_cpu() -> io::Result<usize> {
    let mut set = CpuSet::new();
    let cpu = sched_getcpu()?;
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_is_told() {
        let of = |action, reason, packet: &[u8]| {
            let mut counters = Counters::default();
            counters.count(reason);
            Outcome { action, reason, packet: packet.to_vec(), counters }
        };
        let memory = of(Action::Tx, Reason::ForwardTx, &[1, 2]);
        assert_eq!(difference(&memory, &memory), None);
        let others = [
            (of(Action::Redirect, Reason::ForwardTx, &[1, 2]), "redirect forward_tx 0102"),
            (of(Action::Tx, Reason::ForwardIcmp, &[1, 2]), "tx forward_icmp 0102"),
            (of(Action::Tx, Reason::ForwardTx, &[1, 3]), "tx forward_tx 0103"),
        ];
        for (kernel, short) in others {
            let told = format!("the kernel: {short}; in memory: tx forward_tx 0102");
            assert_eq!(difference(&kernel, &memory), Some(told));
        }
    }
}
