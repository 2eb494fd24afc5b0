//! The machine: what it is, what its CPUs do meanwhile, and who runs on which.

use std::{fmt, fs};

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

/// What figures are of.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// CPUs that are on.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// `/proc` says nothing of it.
    pub fn this() -> Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo")?;
        let name =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Ok(Self {
            processor: name.context("no model name in /proc/cpuinfo")?.trim().to_owned(),
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} CPUs, Linux {}", self.processor, self.cpus, self.kernel)
    }
}

/// Times of all CPUs at a moment.
#[derive(Clone, Debug)]
pub struct Idle {
    own: usize,
    /// Of each CPU all its time and the idle part, in ticks.
    times: Vec<(u64, u64)>,
}

impl Idle {
    /// Looks, for somebody who works on this CPU alone.
    ///
    /// # Errors
    /// `/proc/stat` says nothing, or nothing of that CPU.
    pub fn look(own: usize) -> Result<Self> {
        let times = times(&fs::read_to_string("/proc/stat")?)?;
        ensure!(own < times.len(), "CPU {own} of {}", times.len());
        Ok(Self { own, times })
    }

    /// The part of the other CPUs' time since then in which they did something, 0 to 1.
    ///
    /// # Errors
    /// As [`Idle::look`].
    pub fn others_busy_since(&self) -> Result<f64> {
        Ok(self.others_busy_until(&Self::look(self.own)?))
    }

    fn others_busy_until(&self, now: &Self) -> f64 {
        let both = self.times.iter().zip(&now.times).enumerate();
        let (mut all, mut idle) = (0, 0);
        for (_, (before, after)) in both.filter(|(cpu, _)| *cpu != self.own) {
            // Time of waiting may shrink (proc(5)).
            all += after.0.saturating_sub(before.0);
            idle += after.1.saturating_sub(before.1);
        }
        if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 }
    }
}

/// Keeps a thread on a CPU; 0 is the calling one.
///
/// # Errors
/// If the kernel refuses.
pub fn pin(thread: i32, cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(Pid::from_raw(thread), &one).with_context(|| format!("pinning to CPU {cpu}"))
}

/// Of each CPU all its time and the idle part, in ticks: the lines of the single CPUs of `/proc/stat`
/// (proc(5)).
///
/// # Errors
/// It is not as it is known to be.
pub fn times(stat: &str) -> Result<Vec<(u64, u64)>> {
    let cpu = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let time = |line: &str| {
        let ticks = line.split_whitespace().skip(1).map(str::parse);
        // user nice system idle iowait irq softirq steal; guest times are in user already.
        let ticks: Vec<u64> = ticks.take(8).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 8, "a short line in /proc/stat: {line}");
        Ok((ticks.iter().sum(), ticks[3] + ticks[4]))
    };
    stat.lines().filter(cpu).map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_single_cpus() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 40 5 6 7 8 0 0\ncpu1 0 0 0 10 0 0 0 0 0 0\n\
                    intr 5\n";
        assert_eq!(times(text).expect("a stat"), [(72, 45), (10, 10)]);
        assert!(times("cpu0 1 2 3\n").is_err());
    }

    #[test]
    fn the_own_cpu_does_not_count() {
        let at = |times: [(u64, u64); 3]| Idle { own: 1, times: times.to_vec() };
        let before = at([(100, 100), (100, 100), (100, 100)]);
        assert_eq!(before.others_busy_until(&at([(200, 190), (200, 100), (200, 160)])), 0.25);
        assert_eq!(before.others_busy_until(&at([(200, 200), (200, 100), (200, 200)])), 0.0);
        assert_eq!(before.others_busy_until(&before), 0.0, "no time has passed");
    }

    #[test]
    fn this_machine_has_cpus_and_a_kernel() {
        let machine = Machine::this().expect("a machine");
        assert!(machine.cpus > 0 && !machine.kernel.is_empty(), "{machine}");
        assert!(Idle::look(machine.cpus).is_err(), "there is no such CPU");
    }
}
