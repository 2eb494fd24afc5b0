//! The directory of pins: who may write there, what is in it, and whether it can be adopted.
//!
//! Maps are pinned as DIR/NAME, links as DIR/link-IFINDEX. The lock on the directory itself is
//! held for as long as somebody may write what is pinned there.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use aya::maps::{MapError, MapInfo, MapType};
use lb_common::maps::{self, MapKind, MapSpec};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

/// A locked directory in the bpf filesystem.
#[derive(Debug)]
pub struct PinDir {
    path: PathBuf,
    _lock: File,
    created: bool,
}

/// What a directory of pins holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that is in force: no link. Leftovers of a start that was cut short are removed.
    Nothing,
    /// Maps of this version, and links.
    Ours,
}

/// What is wrong with a directory of pins.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum PinError {
    #[error("{0} is not in a bpf filesystem; mount one first: mount -t bpf bpf /sys/fs/bpf")]
    NotBpffs(PathBuf),
    #[error("another understudy holds {0}; stop it first, or use another `bpffs` directory")]
    Locked(PathBuf),
    #[error("cannot {operation} {path}: {source}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot open the pinned map {path}: {source}")]
    Open { path: PathBuf, source: MapError },
    #[error(
        "the maps pinned in {path} are not of this version ({what}); its packets go on as they \
         are. To start anew: understudy detach, then run again"
    )]
    OtherVersion { path: PathBuf, what: String },
}

impl PinDir {
    /// Opens and locks the directory, and makes it if it is not there.
    ///
    /// # Errors
    /// Not in a bpf filesystem, locked by another process, or not accessible.
    pub fn open(path: &Path) -> Result<Self, PinError> {
        let io =
            |operation| move |source| PinError::Io { operation, path: path.to_owned(), source };
        let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        let kind = statfs(existing).map_err(|e| io("look at")(e.into()))?;
        if kind.filesystem_type() != BPF_FS_MAGIC {
            return Err(PinError::NotBpffs(path.to_owned()));
        }
        let created = !path.exists();
        if created {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create"))?;
        }
        let lock = File::open(path).map_err(io("open"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => PinError::Locked(path.to_owned()),
            TryLockError::Error(source) => io("lock")(source),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock, created })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a map is pinned.
    pub fn map(&self, spec: &MapSpec) -> PathBuf {
        self.path.join(spec.name)
    }

    /// Where the link to an interface is pinned.
    pub fn link(&self, ifindex: u32) -> PathBuf {
        self.path.join(format!("link-{ifindex}"))
    }

    /// Interfaces that a link is pinned for, with the pins.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn links(&self) -> Result<Vec<(u32, PathBuf)>, PinError> {
        let mut links = Vec::new();
        for path in self.entries()? {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if let Some(Ok(ifindex)) = name.strip_prefix("link-").map(str::parse) {
                links.push((ifindex, path));
            }
        }
        Ok(links)
    }

    /// Looks whether what is pinned can be adopted, and removes what is in nobody's force.
    ///
    /// # Errors
    /// Something is in force that this version cannot take over.
    pub fn survey(&self) -> Result<Found, PinError> {
        if self.links()?.is_empty() {
            self.clear()?;
            return Ok(Found::Nothing);
        }
        for spec in maps::ALL {
            let path = self.map(spec);
            let info = match MapInfo::from_pin(&path) {
                Ok(info) => info,
                Err(source) if path.exists() => return Err(PinError::Open { path, source }),
                Err(_) => return Err(self.other(format!("{} is missing", spec.name))),
            };
            if let Some(what) = difference(spec, &info) {
                return Err(self.other(what));
            }
        }
        Ok(Found::Ours)
    }

    /// An error that says that the pinned maps are another version's.
    pub fn other(&self, what: String) -> PinError {
        PinError::OtherVersion { path: self.path.clone(), what }
    }

    /// Removes all pins, links first, so that no packet meets a program without tables.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<(), PinError> {
        let links = self.links()?.into_iter().map(|(_, path)| path);
        for path in links.chain(self.entries()?) {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(PinError::Io { operation: "remove", path, source }),
            }
        }
        Ok(())
    }

    /// Removes all pins, and the directory.
    ///
    /// # Errors
    /// As [`PinDir::clear`].
    pub fn remove(self) -> Result<(), PinError> {
        self.clear()?;
        fs::remove_dir(&self.path).map_err(|source| PinError::Io {
            operation: "remove",
            path: self.path.clone(),
            source,
        })
    }

    /// Undoes a start that failed: what was not there before is gone again.
    pub fn undo(self) -> Result<(), PinError> {
        if self.created { self.remove() } else { self.clear() }
    }

    fn entries(&self) -> Result<Vec<PathBuf>, PinError> {
        fs::read_dir(&self.path)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(|source| PinError::Io { operation: "read", path: self.path.clone(), source })
    }
}

/// How a map differs from what it must be.
pub fn difference(spec: &MapSpec, info: &MapInfo) -> Option<String> {
    let kind = match info.map_type() {
        Ok(MapType::Hash) => Some(MapKind::Hash),
        Ok(MapType::Array) => Some(MapKind::Array),
        Ok(MapType::PerCpuArray) => Some(MapKind::PerCpuArray),
        Ok(MapType::ArrayOfMaps) => Some(MapKind::ArrayOfMaps),
        _ => None,
    };
    let is = [info.key_size(), info.value_size(), info.max_entries(), info.map_flags()];
    let must = [spec.key_size, spec.value_size, spec.max_entries, spec.flags];
    (kind != Some(spec.kind) || is != must).then(|| {
        format!(
            "{}: [key size, value size, entries, flags] is {is:?}, must be {must:?} of type {:?}",
            spec.name, spec.kind
        )
    })
}
