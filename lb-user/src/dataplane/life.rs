//! What the maps say of a daemon that does not answer: how long ago it lived, and what holds without it.

use std::{fs, io, mem::offset_of, path::Path, time::Duration};

use aya::maps::{Array, Map, MapData, MapError};
use lb_common::{Control, LAYOUT_VERSION, maps};
use thiserror::Error;

use super::monotonic_ns;

/// What is in force, and whether somebody keeps it up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The epoch in force; 0: none yet.
    pub epoch: u64,
    /// Since the daemon's last sign of life; `None`: there never was one.
    pub silent: Option<Duration>,
    /// To how many interfaces the program is attached.
    pub interfaces: usize,
}

/// What is pinned cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum LifeError {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Directory(#[from] io::Error),
    #[error("its maps are not of this version: layout {0}, needed is layout {LAYOUT_VERSION}")]
    Layout(u32),
}

impl Life {
    /// Reads it from a directory of pins, whoever holds that. `None`: nothing is pinned there.
    ///
    /// # Errors
    /// See [`LifeError`].
    pub fn read(bpffs: &Path) -> Result<Option<Self>, LifeError> {
        let control = bpffs.join(maps::CONTROL.name);
        if !control.try_exists()? {
            return Ok(None);
        }
        let control = Map::Array(MapData::from_pin(control)?);
        let control: Array<_, [u8; size_of::<Control>()]> = Array::try_from(control)?;
        let control = control.get(&0, 0)?;
        let mut interfaces = 0;
        for entry in fs::read_dir(bpffs)? {
            interfaces += usize::from(entry?.file_name().to_string_lossy().starts_with("link-"));
        }
        Self::of(&control, interfaces, monotonic_ns()).map(Some)
    }

    fn of(
        control: &[u8; size_of::<Control>()],
        interfaces: usize,
        now_ns: u64,
    ) -> Result<Self, LifeError> {
        let layout = u32::from_ne_bytes(word(control, offset_of!(Control, layout)));
        if layout != LAYOUT_VERSION {
            return Err(LifeError::Layout(layout));
        }
        let heartbeat = u64::from_ne_bytes(word(control, offset_of!(Control, heartbeat)));
        let ago = Duration::from_nanos(now_ns.saturating_sub(heartbeat));
        Ok(Self {
            epoch: u64::from_ne_bytes(word(control, offset_of!(Control, epoch))),
            silent: (heartbeat > 0).then_some(ago),
            interfaces,
        })
    }
}

fn word<const N: usize>(control: &[u8; size_of::<Control>()], offset: usize) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(&control[offset..offset + N]);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_from_the_bytes_of_control() {
        let control = |epoch: u64, heartbeat: u64, layout: u32| {
            let mut bytes = [0; size_of::<Control>()];
            let parts = [epoch.to_ne_bytes(), heartbeat.to_ne_bytes()].concat();
            bytes[..16].copy_from_slice(&parts);
            bytes[16..20].copy_from_slice(&layout.to_ne_bytes());
            bytes
        };
        let life = |epoch, heartbeat| {
            Life::of(&control(epoch, heartbeat, LAYOUT_VERSION), 2, 5_000_000_000).expect("life")
        };
        let second = |silent| Life { epoch: 7, silent, interfaces: 2 };
        assert_eq!(life(7, 3_000_000_000), second(Some(Duration::from_secs(2))));
        assert_eq!(life(7, 0), second(None));
        let old = Life::of(&control(7, 1, LAYOUT_VERSION - 1), 0, 0).map_err(|e| e.to_string());
        assert!(old.is_err_and(|error| error.contains("not of this version")));
    }

    #[test]
    fn nothing_is_pinned_where_there_is_no_directory() {
        assert_eq!(Life::read(Path::new("/nowhere/at/all")).expect("an answer"), None);
    }
}
