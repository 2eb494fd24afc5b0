//! Values in memory that others read or write at the same time: of a BPF map, or anonymous.
#![allow(unsafe_code)]

use std::{
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
};

use aya::maps::MapData;
use lb_common::{Generation, Pod, maps::MapSpec};
use memmap2::{MmapOptions, MmapRaw};

use super::memory::OpenError;

/// A fixed number of values in memory that others read or write at the same time: some in a row, then
/// as many again at the next stride.
pub struct Cells<T> {
    memory: Arc<MmapRaw>,
    /// Bytes before the first one.
    before: usize,
    /// Values in a row.
    row: u32,
    /// Bytes from one row to the next.
    stride: usize,
    len: u32,
    values: PhantomData<T>,
}

impl<T: Pod> Cells<T> {
    /// All that is in a map.
    pub(super) fn new(spec: &MapSpec, bpf: Option<MapData>) -> Result<Self, OpenError> {
        let Mapping { memory, bytes } = Mapping::new(spec, bpf)?;
        assert_eq!(spec.value_size as usize % size_of::<T>(), 0, "{}", spec.name);
        let len = (bytes / size_of::<T>()) as u32;
        Ok(Self { memory, before: 0, row: len, stride: bytes, len, values: PhantomData })
    }

    /// An array of so many values in each [`Generation`], behind so many bytes.
    pub(super) fn of_plans(plans: &Mapping, before: usize, row: u32) -> Self {
        let stride = size_of::<Generation>();
        assert!(before + row as usize * size_of::<T>() <= stride);
        assert!(before.is_multiple_of(align_of::<T>()));
        let len = (plans.bytes / stride) as u32 * row;
        let memory = Arc::clone(&plans.memory);
        Self { memory, before, row, stride, len, values: PhantomData }
    }

    /// Number of values.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Never: every map has elements. (Here because a `len` without it surprises.)
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value at an index, `None` beyond the end.
    pub fn get(&self, index: u32) -> Option<T> {
        // SAFETY: `checked` gave a pointer inside the mapping, aligned for T; any bytes are a T.
        // A value that somebody writes meanwhile may come out mixed: readers of live tables
        // compare the epoch before and after.
        self.checked(index).map(|p| unsafe { p.read_volatile() })
    }

    /// Writes the value at an index.
    ///
    /// # Panics
    /// If the index is beyond the end: indices are computed from ids, which have limits.
    pub fn set(&self, index: u32, value: T) {
        // SAFETY: `pointer` checked the bounds; there is one writer, the holder of the lock.
        unsafe { self.pointer(index).write_volatile(value) }
    }

    pub(super) fn checked(&self, index: u32) -> Option<*mut T> {
        (index < self.len).then(|| {
            let (row, place) = ((index / self.row) as usize, (index % self.row) as usize);
            let offset = self.before + row * self.stride + place * size_of::<T>();
            // SAFETY: of the rows that the mapping has, and inside of its row. The mapping is
            // page-aligned, so is each row's beginning for T, and values follow each other.
            unsafe { self.memory.as_mut_ptr().add(offset).cast() }
        })
    }

    pub(super) fn pointer(&self, index: u32) -> *mut T {
        self.checked(index).unwrap_or_else(|| panic!("element {index} of {}", self.len))
    }
}

/// The memory of a map.
pub(super) struct Mapping {
    memory: Arc<MmapRaw>,
    bytes: usize,
}

impl Mapping {
    pub(super) fn new(spec: &MapSpec, bpf: Option<MapData>) -> Result<Self, OpenError> {
        // How many elements there are is what the map says: of pins it is the configuration's.
        let elements = match &bpf {
            Some(map) => map
                .info()
                .map_err(|source| OpenError::Info { name: spec.name, source })?
                .max_entries(),
            None => spec.max_entries,
        };
        assert_eq!(spec.value_size % 8, 0, "{}: the kernel rounds it up to 8 bytes", spec.name);
        let bytes = spec.value_size as usize * elements as usize;
        let mut options = MmapOptions::new();
        options.len(bytes);
        let memory = match bpf {
            Some(map) => options.map_raw(map.fd().as_fd().as_raw_fd()),
            None => options.map_anon().map(MmapRaw::from),
        };
        let memory = memory.map_err(|source| OpenError::Mmap { name: spec.name, source })?;
        Ok(Self { memory: Arc::new(memory), bytes })
    }
}
