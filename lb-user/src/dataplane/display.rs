//! The small maps for people: `SERVICES`, `CLUSTERS`, `NODES`. Not on the packet's way.
#![allow(unsafe_code)]

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use lb_common::{
    ClusterInfo, Counters, NodeInfo, Pod, ServiceInfo,
    maps::{self, MapSpec},
};

use super::pins::PinDir;
use crate::decide::Intent;

/// Writes what `bpftool map dump` shows.
pub struct Display {
    services: Shown<ServiceInfo>,
    clusters: Shown<ClusterInfo>,
    nodes: Shown<NodeInfo>,
    counters: Counts,
}

/// A value as aya takes it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Wire<T>(T);

// SAFETY: transparent over a type that is plain old data by its own unsafe promise.
unsafe impl<T: Pod> aya::Pod for Wire<T> {}

struct Shown<T> {
    map: HashMap<MapData, u32, Wire<T>>,
    /// With epoch 0, to be compared with what an intent says.
    written: std::collections::HashMap<u32, T>,
}

impl Display {
    /// Opens the pinned maps.
    ///
    /// # Errors
    /// One of them cannot be opened or read.
    pub fn open(pins: &PinDir) -> Result<Self, MapError> {
        Ok(Self {
            services: Shown::open(pins, &maps::SERVICES)?,
            clusters: Shown::open(pins, &maps::CLUSTERS)?,
            nodes: Shown::open(pins, &maps::NODES)?,
            counters: Counts::of(open(pins, &maps::COUNTERS)?)?,
        })
    }

    /// Shows what a commit put in force.
    ///
    /// # Errors
    /// An update fails.
    pub fn show(&mut self, epoch: u64, intent: &Intent) -> Result<(), MapError> {
        self.services.show(epoch, &intent.service_info)?;
        self.clusters.show(epoch, &intent.cluster_info)?;
        self.nodes.show(epoch, &intent.node_info)
    }

    /// Packets by reason, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn counters(&self) -> Result<Counters, MapError> {
        self.counters.read()
    }
}

/// What a program counted.
pub struct Counts(PerCpuArray<MapData, Wire<Counters>>);

impl Counts {
    /// In its map `COUNTERS`.
    ///
    /// # Errors
    /// It is another kind of map.
    pub fn of(map: Map) -> Result<Self, MapError> {
        PerCpuArray::try_from(map).map(Self)
    }

    /// Packets by reason, over all CPUs.
    ///
    /// # Errors
    /// The map cannot be read.
    pub fn read(&self) -> Result<Counters, MapError> {
        let mut sum = Counters::default();
        for cpu in self.0.get(&0, 0)?.iter() {
            sum.add(&cpu.0);
        }
        Ok(sum)
    }
}

fn open(pins: &PinDir, spec: &MapSpec) -> Result<Map, MapError> {
    Map::from_map_data(MapData::from_pin(pins.map(spec))?)
}

/// An entry that may say which epoch changed it last.
trait Stamp: Default {
    fn stamp(&mut self, epoch: u64);
}

impl Stamp for ServiceInfo {
    fn stamp(&mut self, epoch: u64) {
        self.epoch = epoch;
    }
}

impl Stamp for ClusterInfo {
    fn stamp(&mut self, epoch: u64) {
        self.epoch = epoch;
    }
}

impl Stamp for NodeInfo {
    fn stamp(&mut self, _epoch: u64) {}
}

impl<T: Pod + PartialEq + Stamp> Shown<T> {
    fn open(pins: &PinDir, spec: &MapSpec) -> Result<Self, MapError> {
        let map: HashMap<MapData, u32, Wire<T>> = HashMap::try_from(open(pins, spec)?)?;
        // What an earlier daemon showed stays until a commit changes it.
        let mut written = std::collections::HashMap::new();
        for entry in map.iter() {
            let (key, Wire(mut value)) = entry?;
            value.stamp(0);
            written.insert(key, value);
        }
        Ok(Self { map, written })
    }

    /// Writes the entries that differ from those shown, with the epoch that changed them. Ids that
    /// nobody has are not shown.
    fn show(&mut self, epoch: u64, values: &[T]) -> Result<(), MapError> {
        let wanted = (0..).zip(values.iter().copied()).filter(|(_, value)| *value != T::default());
        let wanted: std::collections::HashMap<u32, T> = wanted.collect();
        for (key, value) in &wanted {
            if self.written.get(key) != Some(value) {
                let mut stamped = *value;
                stamped.stamp(epoch);
                self.map.insert(key, Wire(stamped), 0)?;
            }
        }
        for key in self.written.keys().filter(|key| !wanted.contains_key(key)) {
            self.map.remove(key)?;
        }
        self.written = wanted;
        Ok(())
    }
}
