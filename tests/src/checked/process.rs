//! A child process in a namespace: started, signalled, and ended with its value.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{clock::Moment, netns::Netns};

/// How long anything may take that is waited for here.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program about to be started.
#[derive(Debug)]
pub struct Start {
    command: Command,
    name: String,
}

impl Start {
    /// A program in the namespace that a file stands for. It does not outlive this process, and a Ctrl-C on the terminal
    /// is not for it.
    #[must_use]
    pub fn new(namespace: &Path, program: &Path) -> Self {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", namespace.display()))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null())
            .process_group(0);
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { command, name }
    }

    /// With more arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// If it cannot be started or does not succeed; with what it said.
    pub fn run(mut self) -> Result<Output> {
        let output = self.command.output().with_context(|| format!("starting {}", self.name))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}: {}", self.name, output.status, said.trim());
        Ok(output)
    }

    /// Starts it; what it says goes to a file.
    ///
    /// # Errors
    /// If it cannot be started or the file not be written.
    pub fn spawn(mut self, log: PathBuf) -> Result<Running> {
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = self.command.stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("starting {}", self.name))?;
        Ok(Running { child, name: self.name, log })
    }
}

/// A process that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Sends a signal, also to the children that it started.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        killpg(pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn wait(&mut self) -> Result<()> {
        let deadline = Moment::now().after(PATIENCE);
        while self.child.try_wait()?.is_none() {
            ensure!(Moment::now() < deadline, "{} does not end; {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What it said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until something accepts connections at an address in a namespace, for this process
    /// to be it.
    ///
    /// # Errors
    /// If it ends before, or nothing does in time.
    pub fn until_it_listens(&mut self, netns: &Netns, address: SocketAddr) -> Result<()> {
        let deadline = Moment::now().after(PATIENCE);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended by itself ({status}): {}", self.name, self.log());
            }
            if netns.run(|| Ok(std::net::TcpStream::connect(address).is_ok()))? {
                return Ok(());
            }
            let late = deadline < Moment::now();
            ensure!(!late, "{} does not listen at {address}: {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
