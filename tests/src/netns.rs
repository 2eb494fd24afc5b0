//! A named network namespace: how it is made, entered and removed.

use std::{
    fs,
    io::Write,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns},
};

/// Where iproute2 keeps the names.
pub const NAMES: &str = "/run/netns";

/// A namespace with a name under [`NAMES`]; the name goes with the value.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes namespaces, all at once.
    ///
    /// # Errors
    /// If `ip` refuses; what it made is removed again.
    pub fn create(names: Vec<String>) -> Result<Vec<Self>> {
        let script: String = names.iter().map(|n| format!("netns add {n}\n")).collect();
        let made = names.into_iter().map(|name| Self { name }).collect();
        ip(&[], &script)?;
        Ok(made)
    }

    /// Its name under [`NAMES`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }

    /// Does something inside it, in a thread of its own.
    ///
    /// # Errors
    /// Those of the work, and of [`enter`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            enter(&self.path())?;
            work().with_context(|| format!("in the namespace {}", self.name))
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs lines of `ip` inside it, as one batch.
    ///
    /// # Errors
    /// If one is refused.
    pub fn ip(&self, script: &str) -> Result<()> {
        ip(&["-n", &self.name], script)
    }

    /// As [`Netns::ip`], for lines that do not say that they are about IPv6.
    ///
    /// # Errors
    /// If one is refused.
    pub fn ip6(&self, script: &str) -> Result<()> {
        ip(&["-6", "-n", &self.name], script)
    }

    /// Sets kernel parameters below `/proc/sys/net`.
    ///
    /// # Errors
    /// If one cannot be written; what this kernel was built without is passed over.
    pub fn sysctl(&self, values: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            for (key, value) in values {
                let path = Path::new("/proc/sys/net").join(key);
                if path.exists() {
                    fs::write(&path, value).with_context(|| format!("setting {key}"))?;
                }
            }
            Ok(())
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Moves the calling thread into the namespace that a file stands for, for good.
///
/// # Errors
/// If the name is gone or this process may not.
pub fn enter(path: &Path) -> Result<()> {
    let file = fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("entering {}", path.display()))
}

/// Removes a name; the namespace ends with the last process and socket in it.
///
/// # Errors
/// If it exists and cannot be removed.
pub fn remove(name: &str) -> Result<()> {
    let path = Path::new(NAMES).join(name);
    match umount2(&path, MntFlags::MNT_DETACH) {
        // A name that never became a namespace, or none at all.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmounting {}", path.display())),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The processes inside a namespace.
#[must_use]
pub fn processes(name: &str) -> Vec<i32> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let Some(wanted) = identity(&Path::new(NAMES).join(name)) else {
        return Vec::new();
    };
    let Ok(directory) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    directory
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| identity(Path::new(&format!("/proc/{pid}/ns/net"))) == Some(wanted))
        .collect()
}

/// Runs `ip OPTIONS -batch -` over the lines.
fn ip(options: &[&str], script: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        // A Ctrl-C on the terminal is for this process, which ends in its own way.
        .process_group(0)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip (package iproute2)")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).context("writing to ip")?;
    }
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", options.join(" "), said.trim());
    }
    Ok(())
}
