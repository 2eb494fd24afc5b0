//! What the load balancer costs, in CPU time.
//!
//! Packets are received by kernel threads: the NAPI of its interface and that of the switch's port at
//! the far end of its wire are *threaded*. Without that, receiving is done in softirqs, whose time
//! is charged to whoever happens to run. So the cost of a load balancer of any kind is the time of
//! the threads of its interface, with all that the kernel and XDP programs do on the way there, and
//! of the processes in its namespace; what comes behind its wire is the thread's of the switch.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    bench::machine::{pin, times},
    clock::Moment,
    netns::{self, Netns},
};

/// Clock ticks a second in what `/proc` says: the kernel's interface has no other.
const USER_HZ: f64 = 100.0;

/// The threads that receive for an interface.
#[derive(Debug)]
pub struct Receivers(Vec<i32>);

impl Receivers {
    /// Gives an interface threads of its own; it must have NAPI already.
    ///
    /// # Errors
    /// If the kernel refuses, or they are not found.
    pub fn of(netns: &Netns, interface: &str) -> Result<Self> {
        let before = napi_threads(interface)?;
        set_threaded(netns, interface)?;
        let mut threads = napi_threads(interface)?;
        threads.retain(|thread| !before.contains(thread));
        ensure!(!threads.is_empty(), "no thread receives for {interface} in {}", netns.name());
        Ok(Self(threads))
    }

    /// Keeps them on a CPU.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pin(&self, cpu: usize) -> Result<()> {
        self.0.iter().try_for_each(|thread| pin(*thread, cpu))
    }

    /// Their CPU time so far.
    ///
    /// # Errors
    /// If one is gone.
    pub fn time(&self) -> Result<Duration> {
        let one = |thread: &i32| {
            let path = format!("/proc/{thread}/schedstat");
            run_time(&fs::read_to_string(path).context("a NAPI thread is gone")?)
        };
        self.0.iter().map(one).sum()
    }
}

/// The CPU time of all processes in a namespace, so far.
///
/// # Errors
/// If `/proc` is not as it is known to be.
pub fn processes_time(netns: &Netns) -> Result<Duration> {
    let tasks = |process: i32| Path::new("/proc").join(process.to_string()).join("task");
    netns::processes(netns.name()).into_iter().map(|process| process_time(&tasks(process))).sum()
}

/// Lets threads receive for an interface. The files of a namespace's interfaces are seen where `/sys`
/// was mounted in it, which `ip netns exec` does.
fn set_threaded(netns: &Netns, interface: &str) -> Result<()> {
    let mut tee = Command::new("ip")
        .args(["netns", "exec", netns.name(), "tee"])
        .arg(format!("/sys/class/net/{interface}/threaded"))
        // As in `netns`.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting ip (package iproute2)")?;
    tee.stdin.take().context("no pipe")?.write_all(b"1")?;
    ensure!(tee.wait()?.success(), "{interface} in {} has no NAPI threads", netns.name());
    Ok(())
}

/// CPU time of the whole machine that was not idle until now, in seconds; only differences count.
///
/// # Errors
/// If `/proc` is not as it is known to be.
pub fn machine_busy(now: Moment) -> Result<f64> {
    busy(&fs::read_to_string("/proc/stat")?, now.since(Moment::default()))
}

/// The kernel's threads that receive for an interface of this name, in any namespace.
fn napi_threads(interface: &str) -> Result<Vec<i32>> {
    let prefix = format!("napi/{interface}-");
    let numbers = fs::read_dir("/proc")?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let name = |number: &i32| fs::read_to_string(format!("/proc/{number}/comm"));
    Ok(numbers.filter(|number| name(number).is_ok_and(|n| n.starts_with(&prefix))).collect())
}

/// The time of all threads of a process; of none if it has ended.
fn process_time(tasks: &Path) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let Some(entries) = unless_ended(fs::read_dir(tasks))? else { return Ok(sum) };
    for entry in entries {
        let Some(entry) = unless_ended(entry)? else { continue };
        let schedstat = fs::read_to_string(entry.path().join("schedstat"));
        if let Some(text) = unless_ended(schedstat)? {
            sum += run_time(&text)?;
        }
    }
    Ok(sum)
}

/// What was read of a process or thread; `None` if it has ended.
fn unless_ended<T>(read: io::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error).context("reading a thread's time"),
    }
}

/// The first number of a `schedstat`: nanoseconds on a CPU.
fn run_time(schedstat: &str) -> Result<Duration> {
    let nanos = schedstat.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse().context("a schedstat without a number")?))
}

/// From the text of `/proc/stat`. The kernel measures idle time but only samples the rest, so busy is
/// all that was not idle.
fn busy(stat: &str, since_boot: Duration) -> Result<f64> {
    let cpus = times(stat)?;
    ensure!(!cpus.is_empty(), "no CPU in /proc/stat");
    let busy = |(_, idle): &(u64, u64)| since_boot.as_secs_f64() - *idle as f64 / USER_HZ;
    Ok(cpus.iter().map(busy).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_of_a_schedstat_is_the_time_on_a_cpu() {
        assert_eq!(run_time("1500000001 58487 17\n").expect("a time").as_nanos(), 1_500_000_001);
        assert!(run_time("\n").is_err());
        assert!(run_time("none 1 2\n").is_err());
    }

    #[test]
    fn busy_is_what_is_not_idle() {
        let stat = "cpu  9 9 9 9 9 9 9 0 0 0\ncpu0 1 0 2 6000 1000 0 5 0 0 0\n\
                    cpu1 1 0 2 9000 0 0 5 0 0 0\nintr 3\n";
        let seconds = busy(stat, Duration::from_secs(100)).expect("a time");
        assert!((seconds - 40.0).abs() < 1e-9, "{seconds}");
        assert!(busy("cpu  9 9 9 9 9\n", Duration::from_secs(1)).is_err());
        assert!(busy("cpu0 9 9 9\n", Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_process_that_runs_has_a_time() {
        let spent = || process_time(Path::new("/proc/self/task")).expect("a time");
        let before = spent();
        let mut sum = 0_u64;
        // As long as it takes: the kernel tells the time of who runs at its ticks only.
        while spent() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert_eq!(process_time(Path::new("/proc/0/task")).expect("none"), Duration::ZERO);
    }
}
