//! What a lab calls its own: everything is named with the pid of its process, so that several
//! can run at once and what a killed one left can be told from what a living one uses.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::{
        signal::{Signal, kill},
        statfs::{BPF_FS_MAGIC, statfs},
    },
    unistd::Pid,
};

use crate::{clock::Moment, netns};

const PREFIX: &str = "understudy-lab-";
const BPF: &str = "/sys/fs/bpf";
const RUN: &str = "/run";

/// A process that makes namespaces, pins and files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner(u32);

impl Owner {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// Another process.
    #[must_use]
    pub const fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// Its namespace for this purpose.
    #[must_use]
    pub fn netns(self, role: &str) -> String {
        format!("{self}-{role}")
    }

    /// Its directory in the bpf filesystem.
    #[must_use]
    pub fn bpffs(self) -> PathBuf {
        Path::new(BPF).join(self.to_string())
    }

    /// Its directory of pins for one program of several that it loads.
    #[must_use]
    pub fn bpffs_of(self, number: u32) -> PathBuf {
        Path::new(BPF).join(self.netns(&number.to_string()))
    }

    /// Its directory for files. Below `/run`, where only root can make names.
    #[must_use]
    pub fn directory(self) -> PathBuf {
        Path::new(RUN).join(self.to_string())
    }

    /// Everything of it that can be seen on this machine, in words; nothing after a clean end.
    #[must_use]
    pub fn traces(self) -> Vec<String> {
        let mut found: Vec<String> = self.namespaces();
        found.extend(
            self.directories().iter().filter(|d| d.exists()).map(|d| d.display().to_string()),
        );
        found.extend(self.mentions());
        found
    }

    fn namespaces(self) -> Vec<String> {
        self.parts_in(netns::NAMES)
    }

    /// Its directories, those of [`Owner::bpffs_of`] as far as they are there.
    fn directories(self) -> Vec<PathBuf> {
        let parts = self.parts_in(BPF).into_iter().map(|name| Path::new(BPF).join(name));
        parts.chain([self.bpffs(), self.directory()]).collect()
    }

    /// What has its name and more, in a directory.
    fn parts_in(self, directory: &str) -> Vec<String> {
        let prefix = self.netns("");
        let mut names = names_in(directory);
        names.retain(|name| name.starts_with(&prefix));
        names
    }

    /// Processes that were started with one of its names.
    fn mentions(self) -> Vec<String> {
        let named = |pid: &String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let mut words = line.split([' ', '/']);
            words.any(|word| word == self.to_string() || word.starts_with(&self.netns("")))
        };
        let numeric = |pid: &String| pid.bytes().all(|b| b.is_ascii_digit());
        let pids = names_in("/proc").into_iter().filter(numeric).filter(named);
        pids.map(|pid| format!("process {pid}")).collect()
    }

    /// Ends what still runs in its namespaces, then removes all that has its name.
    fn clear(self) -> Result<()> {
        for name in self.namespaces() {
            end_processes(&name)?;
            netns::remove(&name)?;
        }
        self.directories().iter().try_for_each(|directory| remove_directory(directory))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

/// The directories of this process; removed with the value.
#[derive(Debug)]
pub struct Directories(Owner);

impl Directories {
    /// Clears what dead labs left, and makes the directory for files. The daemon makes the one
    /// for pins.
    ///
    /// # Errors
    /// If this is not root, or something cannot be made or cleared.
    pub fn create() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("needs root: it makes network namespaces and loads an XDP program");
        }
        clear_dead()?;
        mount_bpffs()?;
        let this = Self(Owner::this());
        let path = this.path();
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(this)
    }

    /// The directory for files.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.directory()
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        for directory in [self.0.bpffs(), self.0.directory()] {
            if let Err(error) = remove_directory(&directory) {
                eprintln!("warning: {error:#}");
            }
        }
    }
}

/// Whether a bpf filesystem is mounted where the pins go.
#[must_use]
pub fn bpffs_mounted() -> bool {
    statfs(BPF).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts the bpf filesystem if nobody has. It stays: others may have begun to use it.
///
/// # Errors
/// If this kernel has none, or the mount is refused.
pub fn mount_bpffs() -> Result<()> {
    if bpffs_mounted() {
        return Ok(());
    }
    let none: Option<&str> = None;
    mount(Some("bpf"), BPF, Some("bpf"), MsFlags::empty(), none)
        .with_context(|| format!("mounting the bpf filesystem at {BPF}"))
}

/// Removes what labs and suites left that were killed, and what has the pid that is ours now.
///
/// # Errors
/// If something cannot be removed.
pub fn clear_dead() -> Result<()> {
    let mut owners = BTreeSet::new();
    for place in [netns::NAMES, BPF, RUN] {
        for name in names_in(place) {
            let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
            owners.extend(pid.and_then(|pid| pid.parse().ok()).map(Owner));
        }
    }
    let ours = Owner::this();
    // Only what runs has a program; what was killed may stay a zombie for long.
    let runs = |owner: &Owner| fs::read_link(format!("/proc/{}/exe", owner.0)).is_ok();
    let dead = |owner: &Owner| *owner == ours || !runs(owner);
    for owner in owners.into_iter().filter(dead) {
        owner.clear().with_context(|| format!("clearing what {owner} left"))?;
    }
    Ok(())
}

/// Kills what a dead lab left running in its namespace, by pid, and waits until it is gone.
fn end_processes(namespace: &str) -> Result<()> {
    let deadline = Moment::now().after(Duration::from_secs(5));
    loop {
        let left = netns::processes(namespace);
        if left.is_empty() {
            return Ok(());
        }
        if deadline < Moment::now() {
            bail!("processes {left:?} in {namespace} do not end");
        }
        for pid in left {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("ending process {pid}")),
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn names_in(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
