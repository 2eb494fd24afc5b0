//! A lab, or the benchmark, as a child process of a case.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{clock::Moment, daemon::beside, lab::summary::Summary, owner::Owner, runner};

/// How long it may be silent or take to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that runs. Dropping it ends it, and it cleans up.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    json: tempfile::TempPath,
}

impl Program {
    /// Starts a lab with these arguments and `--json`.
    pub(super) fn lab(arguments: &[&str]) -> Result<Self> {
        Self::start("lab", arguments)
    }

    /// Starts one of the programs that are built with this one, with these arguments and `--json`.
    pub(super) fn start(name: &'static str, arguments: &[&str]) -> Result<Self> {
        let json = tempfile::NamedTempFile::new().context("a file for the summary")?;
        let json = json.into_temp_path();
        let program = beside(name)?;
        let mut child = Command::new(&program)
            .args(arguments)
            .arg("--json")
            .arg::<&Path>(&json)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (sender, lines) = channel();
        forward(child.stdout.take().context("its output")?, sender.clone());
        forward(child.stderr.take().context("its errors")?, sender);
        Ok(Self { name, child, lines, said: Vec::new(), json })
    }

    /// What it calls its own.
    pub(super) fn owner(&self) -> Owner {
        Owner::of(self.child.id())
    }

    /// Waits until it says something.
    pub(super) fn until_it_says(&mut self, words: &str) -> Result<()> {
        while !self.said.iter().any(|line| line.contains(words)) {
            if !self.read_line()? {
                bail!("{} ended and never said {words:?}; {}", self.name, self.last_words());
            }
        }
        Ok(())
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Waits for its end.
    pub(super) fn end(&mut self) -> Result<ExitStatus> {
        while self.read_line()? {}
        self.child.wait().with_context(|| format!("waiting for {}", self.name))
    }

    /// Waits for its end; then its summary must be there.
    pub(super) fn summary(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.end()?;
        let text = std::fs::read_to_string(&self.json).context("reading the summary")?;
        ensure!(
            !text.is_empty(),
            "{} wrote no summary ({status}); {}",
            self.name,
            self.last_words()
        );
        Ok((status, text))
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn held(&mut self) -> Result<Summary> {
        let (status, text) = self.summary()?;
        let summary: Summary = serde_json::from_str(&text).context("the summary")?;
        ensure!(status.success() && summary.held, "{status}: {}", summary.problems.join("; "));
        Ok(summary)
    }

    /// Its last lines, to be shown when something failed.
    pub(super) fn last_words(&self) -> String {
        let last = &self.said[self.said.len().saturating_sub(40)..];
        format!("it said:\n  {}", last.join("\n  "))
    }

    /// Takes its next line; false at the end of all lines.
    fn read_line(&mut self) -> Result<bool> {
        let deadline = Moment::now().after(PATIENCE);
        loop {
            runner::stop()?.check()?;
            ensure!(Moment::now() < deadline, "waited {PATIENCE:?}; {}", self.last_words());
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            return Ok(true);
        }
    }
}

/// Sends each line on, in a thread of its own, until there are no more.
fn forward(output: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.all(|line| to.send(line).is_ok())
    });
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}
