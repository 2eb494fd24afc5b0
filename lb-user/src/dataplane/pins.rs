//! The directory of pins: who may write there, what is in it, and whether it can be adopted.
//!
//! Maps are pinned as DIR/NAME, links as DIR/link-NETNS-IFINDEX (an index names an interface only
//! within its network namespace). Nothing else may be there, and nothing else is touched. The lock on the directory itself is
//! held for as long as somebody may write what is pinned there.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    mem::offset_of,
    ops::RangeInclusive,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapError, MapInfo, MapType};
use lb_common::{
    Control,
    layout::LAYOUT_VERSION,
    maps::{self, MapKind, MapSpec},
    pin::{MAX_PINS_LOG2, MIN_PINS_LOG2, PIN_WAYS},
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use thiserror::Error;

/// The network namespace of the thread that asks.
const NETNS: &str = "/proc/thread-self/ns/net";

/// A locked directory in the bpf filesystem.
#[derive(Debug)]
pub struct PinDir {
    path: PathBuf,
    /// Identity of this process's network namespace: the inode of its file.
    netns: u64,
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
        "{path} holds what is not understudy's ({entry}); use a directory of its own, for example \
         /sys/fs/bpf/understudy"
    )]
    Foreign { path: PathBuf, entry: String },
    #[error(
        "what is pinned in {0} is attached in another network namespace; use another `bpffs` \
         directory here, or run in that namespace"
    )]
    OtherNamespace(PathBuf),
    #[error(
        "the maps pinned in {path} are not of this version ({what}); packets go on by them. To start \
         anew: understudy detach --bpffs {path}, then run again"
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
        let netns = fs::metadata(NETNS).map_err(io("look at"))?.ino();
        let this = Self { path: path.to_owned(), netns, _lock: lock, created };
        this.entries()?;
        Ok(this)
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
        self.path.join(format!("link-{}-{ifindex}", self.netns))
    }

    /// Interfaces that a link is pinned for, with the pins.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn links(&self) -> Result<Vec<(u32, PathBuf)>, PinError> {
        let links = self.entries()?.into_iter();
        Ok(links.filter_map(|(path, link)| Some((link?.ifindex, path))).collect())
    }

    /// Looks whether what is pinned can be adopted, and removes what is in nobody's force.
    ///
    /// # Errors
    /// Something is in force that this version cannot take over.
    pub fn survey(&self) -> Result<Found, PinError> {
        let mut links = self.entries()?.into_iter().filter_map(|(_, link)| link).peekable();
        if links.peek().is_none() {
            self.clear()?;
            return Ok(Found::Nothing);
        }
        if links.any(|link| link.netns != self.netns) {
            return Err(PinError::OtherNamespace(self.path.clone()));
        }
        // Of another layout is more than what is different first.
        if let Some(layout) = self.layout().filter(|layout| *layout != LAYOUT_VERSION) {
            return Err(self.other(format!("layout {layout}, needed is layout {LAYOUT_VERSION}")));
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

    /// The layout that the pinned maps have, if they say so where this version does.
    fn layout(&self) -> Option<u32> {
        let control = MapData::from_pin(self.map(&maps::CONTROL)).ok()?;
        let control: Array<_, [u8; size_of::<Control>()]> =
            Array::try_from(Map::Array(control)).ok()?;
        let control = control.get(&0, 0).ok()?;
        let layout = control.get(offset_of!(Control, layout)..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*layout))
    }

    /// An error that says that the pinned maps are another version's.
    fn other(&self, what: String) -> PinError {
        PinError::OtherVersion { path: self.path.clone(), what }
    }

    /// Removes all pins, links first, so that no packet meets a program without tables.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<(), PinError> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|(_, link)| link.is_none());
        for (path, _) in entries {
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

    /// Everything that is there, links told apart; what is not ours is an error.
    fn entries(&self) -> Result<Vec<(PathBuf, Option<LinkName>)>, PinError> {
        let read = |source| PinError::Io { operation: "read", path: self.path.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let link = LinkName::parse(name);
            let is_map = || maps::ALL.iter().map(|spec| spec.name).chain(maps::FORMER);
            if link.is_none() && !is_map().any(|map| map == name) {
                let (path, entry) = (self.path.clone(), name.to_owned());
                return Err(PinError::Foreign { path, entry });
            }
            found.push((path, link));
        }
        Ok(found)
    }
}

/// What the name of a pinned link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkName {
    netns: u64,
    ifindex: u32,
}

impl LinkName {
    fn parse(name: &str) -> Option<Self> {
        let (netns, ifindex) = name.strip_prefix("link-")?.split_once('-')?;
        Some(Self { netns: netns.parse().ok()?, ifindex: ifindex.parse().ok()? })
    }
}

/// How a map differs from what it must be. How many pins there are is whoever's who made the map.
pub fn difference(spec: &MapSpec, info: &MapInfo) -> Option<String> {
    let kind = match info.map_type() {
        Ok(MapType::Hash) => Some(MapKind::Hash),
        Ok(MapType::Array) => Some(MapKind::Array),
        Ok(MapType::PerCpuArray) => Some(MapKind::PerCpuArray),
        Ok(MapType::ArrayOfMaps) => Some(MapKind::ArrayOfMaps),
        _ => None,
    };
    let is = [info.key_size(), info.value_size(), info.max_entries(), info.map_flags()];
    let must = [spec.key_size, spec.value_size, entries(spec, info.max_entries()), spec.flags];
    (kind != Some(spec.kind) || is != must).then(|| {
        format!(
            "{}: [key size, value size, entries, flags] is {is:?}, must be {must:?} of type {:?}",
            spec.name, spec.kind
        )
    })
}

/// How many elements a map must have that has `there`.
fn entries(spec: &MapSpec, there: u32) -> u32 {
    let can_be = BUCKETS.contains(&there) && there.is_power_of_two();
    if spec.name == maps::PINS.name && can_be { there } else { spec.max_entries }
}

/// So many buckets of pins there can be.
const BUCKETS: RangeInclusive<u32> =
    1 << (MIN_PINS_LOG2 - PIN_WAYS.ilog2())..=1 << (MAX_PINS_LOG2 - PIN_WAYS.ilog2());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pins_come_in_several_sizes() {
        for (there, must) in [
            (1 << 8, 1 << 8),
            (1 << 22, 1 << 22),
            (1 << 7, maps::PINS_LEN),
            (1 << 23, maps::PINS_LEN),
            (1000, maps::PINS_LEN),
            (0, maps::PINS_LEN),
        ] {
            assert_eq!(entries(&maps::PINS, there), must, "{there}");
        }
        for spec in maps::ALL.iter().filter(|spec| spec.name != maps::PINS.name) {
            assert_eq!(entries(spec, 1 << 8), spec.max_entries, "{}", spec.name);
        }
    }
}
