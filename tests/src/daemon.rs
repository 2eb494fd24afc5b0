//! The daemon under test: a child process in the load balancer's namespace.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
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
    /// Starts a program with the configuration that [`Daemon::configure`] wrote. The one before it, if
    /// any, must have ended.
    ///
    /// # Errors
    /// If its log cannot be opened or it cannot be started.
    pub fn start(owner: Owner, netns: &Netns, program: &Path) -> Result<Self> {
        let log = owner.directory().join("daemon.log");
        let to_log = File::options().create(true).append(true).open(&log);
        let to_log = to_log.context("opening the daemon's log")?;
        let child = Self::command(owner, netns, program)
            .stdin(Stdio::null())
            .stdout(to_log.try_clone().context("opening the daemon's log")?)
            .stderr(to_log)
            // A Ctrl-C on the terminal is for the lab, which ends its daemon itself.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Writes its configuration.
    ///
    /// # Errors
    /// If that fails.
    pub fn configure(owner: Owner, configuration: &str) -> Result<()> {
        fs::write(Self::configuration(owner), configuration).context("writing the configuration")
    }

    fn configuration(owner: Owner) -> PathBuf {
        owner.directory().join("config.toml")
    }

    /// What starts it.
    #[must_use]
    pub fn command(owner: Owner, netns: &Netns, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", netns.path().display()))
            // Not to outlive this process, whatever becomes of it.
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(["run", "--config"])
            .arg(Self::configuration(owner));
        command
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

    /// Its log, and that of those before it.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, to be shown when something failed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let log = self.log();
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

    /// Has it end in its own time, as an operator would.
    ///
    /// # Errors
    /// If it had ended before, does not end, or says that something was wrong.
    pub fn stop(mut self) -> Result<()> {
        self.check()?;
        self.signal(Signal::SIGTERM)?;
        let deadline = Moment::now().after(PATIENCE);
        let status = loop {
            if let Some(status) = self.child.try_wait().context("waiting for the daemon")? {
                break status;
            }
            ensure!(Moment::now() < deadline, "the daemon does not end on SIGTERM");
            std::thread::sleep(Duration::from_millis(5));
        };
        ensure!(status.success(), "the daemon ended with {status}; {}", self.last_words());
        Ok(())
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
