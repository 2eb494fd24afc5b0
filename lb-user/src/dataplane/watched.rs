//! Tables that tell what they are asked: for `trace`, which says whose packet it was, and for tests
//! that act between two questions.

use lb_common::{
    ClusterId, Directory, GenerationHead, Limit, NodeId, NodeRecord, PinEntry, Pod, PortRange,
    Reason, ServiceId, ServiceRecord, Slot, VipEntry,
};
use lb_ebpf::{Book, Copied, Tables};

use super::memory::Memory;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The epoch, first of all.
    Epoch,
    /// About a service.
    Service(ServiceId),
    /// About a cluster.
    Cluster(ClusterId),
    /// About a node.
    Node(NodeId),
    /// Anything else.
    Other,
}

/// A [`Memory`] whose questions somebody hears before they are answered.
pub struct Watched<'a, W> {
    memory: &'a Memory,
    watch: W,
    writes: bool,
}

impl<'a> Watched<'a, fn(Question)> {
    /// Takes all that is to be written as if it had been written, and leaves everything as it is. What
    /// is claimed is had.
    pub fn reading(memory: &'a Memory) -> Self {
        Self { memory, watch: |_| {}, writes: false }
    }
}

impl<'a, W: Fn(Question)> Watched<'a, W> {
    /// Tells each question.
    pub fn new(memory: &'a Memory, watch: W) -> Self {
        Self { memory, watch, writes: true }
    }

    fn asked(&self, question: Question) -> &'a Memory {
        (self.watch)(question);
        self.memory
    }

    fn other(&self) -> &'a Memory {
        self.asked(Question::Other)
    }

    fn written(&self) -> Option<&'a Memory> {
        let memory = self.other();
        self.writes.then_some(memory)
    }
}

impl<W: Fn(Question)> Tables for Watched<'_, W> {
    type Ref<'b, T: Pod>
        = Copied<T>
    where
        Self: 'b;
    type Slots<'b>
        = ()
    where
        Self: 'b;

    fn epoch(&self) -> Option<u64> {
        Tables::epoch(self.asked(Question::Epoch))
    }
    fn head(&self, epoch: u64) -> Option<Copied<GenerationHead>> {
        self.other().head(epoch)
    }
    fn entry(&self, book: Book, epoch: u64, place: u32) -> Option<Copied<VipEntry>> {
        self.other().entry(book, epoch, place)
    }
    fn range(&self, book: Book, epoch: u64, index: u32) -> Option<PortRange> {
        self.other().range(book, epoch, index)
    }
    fn service(&self, epoch: u64, id: ServiceId) -> Option<Copied<ServiceRecord>> {
        self.asked(Question::Service(id)).service(epoch, id)
    }
    fn cluster(&self, epoch: u64, id: ClusterId) -> Option<Directory> {
        self.asked(Question::Cluster(id)).cluster(epoch, id)
    }
    fn node(&self, epoch: u64, id: NodeId) -> Option<Copied<NodeRecord>> {
        self.asked(Question::Node(id)).node(epoch, id)
    }
    fn slots(&self) -> Option<()> {
        Some(())
    }
    fn slot(&self, (): (), first: u32, slot: u32) -> Option<Slot> {
        self.other().slot((), first, slot)
    }
    fn fragment(&self, bucket: u32, way: usize) -> Option<u64> {
        self.other().fragment(bucket, way)
    }
    fn set_fragment(&self, bucket: u32, way: usize, word: u64) {
        if let Some(memory) = self.written() {
            memory.set_fragment(bucket, way, word);
        }
    }
    fn pin_mask(&self) -> Option<u32> {
        self.other().pin_mask()
    }
    fn pin(&self, bucket: u32, way: usize) -> Option<PinEntry> {
        self.other().pin(bucket, way)
    }
    fn claim_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        self.written().is_none_or(|memory| memory.claim_pin(bucket, way, from, to))
    }
    fn renew_pin(&self, bucket: u32, way: usize, from: u64, to: u64) -> bool {
        self.written().is_none_or(|memory| memory.renew_pin(bucket, way, from, to))
    }
    fn note(&self, reason: Reason) {
        if let Some(memory) = self.written() {
            memory.note(reason);
        }
    }
    fn limit(&self) -> Option<Limit> {
        self.other().limit()
    }
    fn set_limit(&self, second: u64, sent: u64) {
        if let Some(memory) = self.written() {
            memory.set_limit(second, sent);
        }
    }
    fn now(&self) -> u64 {
        self.other().now()
    }
}
