//! The daemon under test: a child process in the load balancer's namespace.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{clock::Moment, netns::Netns, owner::Owner};

/// How long it may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running daemon. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it with the text of a configuration. The one before it, if any, must have ended.
    ///
    /// # Errors
    /// If its files cannot be written or it cannot be started.
    pub fn start(owner: Owner, netns: &Netns, configuration: &str) -> Result<Self> {
        let directory = owner.directory();
        let (config, log) = (directory.join("config.toml"), directory.join("daemon.log"));
        fs::write(&config, configuration).context("writing the configuration")?;
        let program = beside("understudy")?;
        let to_log = File::options().create(true).append(true).open(&log);
        let to_log = to_log.context("opening the daemon's log")?;
        let child = Command::new("nsenter")
            .arg(format!("--net={}", netns.path().display()))
            // Not to outlive this process, whatever becomes of it.
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(&program)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(to_log.try_clone().context("opening the daemon's log")?)
            .stderr(to_log)
            // A Ctrl-C on the terminal is for the lab, which ends its daemon itself.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Where it listens for requests.
    #[must_use]
    pub fn socket(owner: Owner) -> PathBuf {
        owner.directory().join("control.sock")
    }

    /// Fails once it has ended by itself, with the last lines of its log.
    ///
    /// # Errors
    /// If it has.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("waiting for the daemon")? {
            bail!("the daemon ended by itself ({status}); {}", self.last_words());
        }
        Ok(())
    }

    /// The last lines of its log, to be shown when something failed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        if last.is_empty() {
            return "its log is empty".to_owned();
        }
        format!("the end of its log:\n  {}", last.join("\n  "))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("sending {signal} to the daemon"))
    }

    /// Kills it where it stands.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child.kill().context("killing the daemon")?;
        let status = self.child.wait().context("waiting for the daemon")?;
        match status.signal() {
            Some(libc::SIGKILL) => Ok(()),
            _ => bail!("the daemon ended by itself ({status})"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let deadline = Moment::now().after(PATIENCE);
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if ended(&mut self.child) {
            return;
        }
        let _ = self.signal(Signal::SIGTERM);
        while !ended(&mut self.child) {
            if deadline < Moment::now() {
                eprintln!("warning: the daemon does not end on SIGTERM; killing it");
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A program that was built together with this one.
///
/// # Errors
/// If it is not there.
pub fn beside(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("finding this program's own file")?;
    let path = this.parent().unwrap_or(Path::new(".")).join(name);
    if !path.exists() {
        bail!("there is no {}; build everything with cargo xtask build", path.display());
    }
    Ok(path)
}
