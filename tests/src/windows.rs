//! What the maps say of changes that are not over: tables that have a base, and pins.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aya::maps::{Array, Map, MapData};
use lb_common::{
    ClusterId, Directory, ServiceId,
    layout::{MAX_CLUSTERS, MAX_SERVICES},
    maps,
    pin::{BUSY, PIN_WAYS, Pin},
};
use lb_ebpf::Tables;
use lb_user::dataplane::memory::Memory;

use crate::owner::Owner;

/// The maps of this process's daemon. They outlive it.
pub struct Windows {
    memory: Memory,
    pins: PathBuf,
}

impl Windows {
    /// Opens them; a daemon must have made them.
    ///
    /// # Errors
    /// If they are not there.
    pub fn open() -> Result<Self> {
        let directory = Owner::this().bpffs();
        let memory = Memory::open(&directory).context("opening the daemon's maps")?;
        Ok(Self { memory, pins: directory.join(maps::PINS.name) })
    }

    /// How many tables of the plan in force have a base: slots of theirs moved, and unpinned
    /// connections in them are still sent to who had them before.
    #[must_use]
    pub fn tables_with_base(&self) -> usize {
        loop {
            let epoch = self.memory.epoch();
            let services = (0..MAX_SERVICES as usize).filter_map(ServiceId::new);
            let services = services.filter_map(|id| self.memory.service(epoch, id));
            let clusters = (0..MAX_CLUSTERS as usize).filter_map(ClusterId::new);
            let clusters = clusters.filter_map(|id| self.memory.cluster(epoch, id));
            let tables = services.map(|service| service.0.table).chain(clusters);
            let based = |table: &Directory| table.log2 > 0 && table.base != Directory::NO_BASE;
            let count = tables.filter(based).count();
            if self.memory.epoch() == epoch {
                return count;
            }
        }
    }

    /// Every pin there is.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn pins(&self) -> Result<Vec<Pin>> {
        let map = MapData::from_pin(&self.pins).context("opening the pins")?;
        let buckets: Array<MapData, [u64; 2 * PIN_WAYS]> = Array::try_from(Map::Array(map))?;
        let mut pins = Vec::new();
        for bucket in buckets.iter() {
            let bucket = bucket.context("reading the pins")?;
            for way in bucket.chunks(2) {
                match way {
                    [tag, value] if *tag > BUSY => pins.extend(Pin::from_raw(*value)),
                    [_, _] => {}
                    _ => bail!("a bucket of pins is not made of pairs"),
                }
            }
        }
        Ok(pins)
    }
}
