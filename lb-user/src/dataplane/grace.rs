//! Waiting until no program can still read what an older epoch referred to.
//!
//! `membarrier(2)` fails under nohz_full and does nothing with one CPU online. The update of a
//! map of maps, though, waits for running programs by the kernel's own rule (4–28 ms).

use std::path::Path;

use aya::maps::{Array, ArrayOfMaps, Map, MapData, MapError};

/// The map whose update waits.
pub struct Grace {
    outer: ArrayOfMaps<MapData, Array<MapData, u32>>,
    inner: Array<MapData, u32>,
}

impl Grace {
    /// Opens the pinned map.
    ///
    /// # Errors
    /// It is not there, or not a map of maps.
    pub fn open(pin: &Path) -> Result<Self, MapError> {
        let outer = ArrayOfMaps::try_from(Map::from_map_data(MapData::from_pin(pin)?)?)?;
        Ok(Self { outer, inner: Array::create(1, 0)? })
    }

    /// Returns when every program run that had begun before the call has ended.
    ///
    /// # Errors
    /// What `bpf(2)` says.
    pub fn wait(&mut self) -> Result<(), MapError> {
        self.outer.set(0, &self.inner, 0)
    }
}
