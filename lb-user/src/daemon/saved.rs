//! The file that says what the ids of a generation name, for the next daemon; how a daemon begins over
//! what another one left.
//!
//! `NAME.plan-PINS-NUMBER.json` stands beside the control socket `NAME.sock`; PINS says whose directory of
//! pins it is about. It is whole before the first commit that needs it, and the generation names its
//! number, which was drawn by chance: no file of another time is taken for it.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write},
    ops::ControlFlow,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;
use tracing::warn;

use super::Daemon;
use crate::{
    config::Config,
    dataplane::Dataplane,
    decide::{Model, OutOfIds, Saved, State, Unfit},
    secret,
};

/// The files of plans beside a control socket.
pub(super) struct Plans {
    directory: PathBuf,
    /// What their names begin with.
    prefix: String,
    /// The last one that was written, and what it says.
    last: Option<(u64, Arc<Model>)>,
}

/// How a daemon begins.
pub(super) struct Begin {
    /// What is known.
    pub(super) state: State,
    /// What is to be said of it, if anything is.
    pub(super) told: Option<Result<String, Lost>>,
}

/// Why nothing is known of the plan in force but the tables.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub(super) enum Lost {
    #[error("no file of it was written")]
    Unnamed,
    #[error("cannot read its file {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("its file {path} is not what was written: {source}")]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error(
        "its file {path} is of format {format}, which another version writes; this one reads format {}",
        Saved::FORMAT
    )]
    Format { path: PathBuf, format: u32 },
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    OutOfIds(#[from] OutOfIds),
}

/// What a file of any format says.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The steps of writing a file; each is announced before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    /// Its second half is about to be written.
    Half,
    /// It is about to get its name.
    Rename,
    Done,
}

/// Goes on from what an earlier daemon left, under the file's configuration. What cannot be known
/// begins anew, and its pins go.
pub(super) fn begin(
    config: &Arc<Config>,
    plans: &Plans,
    dataplane: &mut Dataplane,
    adopted: bool,
    now: Duration,
) -> Begin {
    let fresh = || State::new(Arc::clone(config), now);
    // Before its first commit a daemon leaves nothing.
    if !adopted || dataplane.epoch() == 0 {
        return Begin { state: fresh(), told: None };
    }
    let resumed = plans.read(dataplane.file()).and_then(|saved| {
        let before = State::resume(saved, &dataplane.remembered(), now)?;
        Ok(before.succeed(config, now)?)
    });
    match resumed {
        Ok(state) => {
            let from = format!("goes on from the plan of epoch {}", dataplane.epoch());
            Begin { state, told: Some(Ok(from)) }
        }
        Err(lost) => {
            dataplane.forget_pins();
            Begin { state: fresh(), told: Some(Err(lost)) }
        }
    }
}

impl Daemon {
    /// Writes down what the next daemon has to know of what was just published.
    pub(super) fn save_plan(&mut self) {
        let file = self.plans.save(&self.state).unwrap_or_else(|error| {
            let text = format!(
                "cannot write the file of the plan: the next daemon will forget which connections \
                 have moved, and all orders: {error}"
            );
            warn!("{text}");
            self.events.add(self.dataplane.epoch(), "plan_unsaved", "", text);
            0
        });
        self.dataplane.name_file(file);
    }

    /// Removes the files of plans that no generation names any more.
    pub(super) fn remove_other_plans(&self) {
        if let Err(error) = self.plans.remove_others(&self.dataplane.files()) {
            warn!("cannot remove files of earlier plans: {error}");
        }
    }
}

impl Plans {
    /// Those that belong to a control socket and a directory of pins: daemons may use one socket after
    /// the other, each with pins of its own.
    pub(super) fn beside(socket: &Path, bpffs: &Path) -> Self {
        let name = socket.file_stem().unwrap_or_default().to_string_lossy();
        let directory = socket.parent().unwrap_or(Path::new("/")).to_owned();
        Self { directory, prefix: format!("{name}.plan-{:016x}-", digest(bpffs)), last: None }
    }

    /// Writes what the next daemon has to know of a state, unless the last file says it. Returns the
    /// number of the file.
    ///
    /// # Errors
    /// It cannot be written. Other files are as they were.
    pub(super) fn save(&mut self, state: &State) -> io::Result<u64> {
        let model = state.model();
        // Fewer ids may be named by pins since; that those are not given to others is no harm.
        if let Some((number, _)) = self.last.as_ref().filter(|last| Arc::ptr_eq(&last.1, model)) {
            return Ok(*number);
        }
        let text = serde_json::to_vec(&state.saved())?;
        let number = number()?;
        self.write(number, &text, |_| ControlFlow::Continue(()))?;
        self.last = Some((number, Arc::clone(model)));
        Ok(number)
    }

    /// Removes all files but the last one and those that generations name.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not be removed.
    pub(super) fn remove_others(&self, named: &BTreeSet<u64>) -> io::Result<()> {
        let last = self.last.as_ref().map(|last| last.0);
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let number = self.number(&entry.file_name().to_string_lossy());
            if number.is_some_and(|number| !named.contains(&number) && last != Some(number)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// All files of them, half written ones, too.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&self.prefix) {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    fn read(&self, number: u64) -> Result<Saved, Lost> {
        if number == 0 {
            return Err(Lost::Unnamed);
        }
        let path = self.path(number);
        let text = fs::read(&path).map_err(|source| Lost::Read { path: path.clone(), source })?;
        let damaged = |source| Lost::Damaged { path: path.clone(), source };
        // Of another format nothing else need be as it is here.
        match serde_json::from_slice(&text).map_err(damaged)? {
            Format { format: Saved::FORMAT } => serde_json::from_slice(&text).map_err(damaged),
            Format { format } => Err(Lost::Format { path, format }),
        }
    }

    /// `observe` is told each step, and may stop there, as a crash would.
    fn write(
        &self,
        number: u64,
        text: &[u8],
        mut observe: impl FnMut(Step) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut at = |step| match observe(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(io::Error::other(format!("stopped at {step:?}"))),
        };
        at(Step::Begin)?;
        let new = self.directory.join(format!("{}new", self.prefix));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let (first, second) = text.split_at(text.len() / 2);
        file.write_all(first)?;
        at(Step::Half)?;
        file.write_all(second)?;
        at(Step::Rename)?;
        fs::rename(&new, self.path(number))?;
        at(Step::Done)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{}{number}.json", self.prefix))
    }

    fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(&self.prefix)?.strip_suffix(".json")?.parse().ok()
    }
}

/// Tells directories of pins apart: FNV-1a of the path, the same in all versions.
fn digest(bpffs: &Path) -> u64 {
    let there = fs::canonicalize(bpffs).or_else(|_| path::absolute(bpffs));
    let there = there.unwrap_or_else(|_| bpffs.to_owned());
    let bytes = there.as_os_str().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// A number that no file has had.
fn number() -> io::Result<u64> {
    let drawn = u128::from_ne_bytes(secret::generate()?);
    // 0 stands for none.
    Ok((drawn as u64).max(1))
}

#[cfg(test)]
mod apart_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
