//! Numbers that are the same in every run, and many flows over tables of many members.

use anyhow::ensure;
use lb_common::{FlowKey, HashAlgorithm, Slot, hash::mix, layout::MIN_TABLE_LOG2};

use super::{
    frames::{self, VIP},
    runners::{KernelRunner, MemoryRunner, SECRET},
    world::{INGRESS, cluster, intent, member, node, node_mac, table, vip},
};
use lb_common::ServiceId;
use lb_user::{decide::Intent, secret};

/// A stream of numbers that is the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// One below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

const CLUSTERS: usize = 5;
const NODES: usize = 40;

/// One service over five clusters of forty nodes, slots drawn at random, tables of several sizes.
fn spread(numbers: &mut Numbers) -> Intent {
    let mut draw = |log2: u32, from: usize, count: usize| {
        table((0..1u32 << log2).map(|_| member(from + numbers.below(count))))
    };
    let service = draw(MIN_TABLE_LOG2 + 2, 0, CLUSTERS);
    let clusters =
        (0..CLUSTERS).map(|c| draw(MIN_TABLE_LOG2 + c as u32, c * NODES, NODES)).collect();
    let nodes = (0..CLUSTERS * NODES).map(|n| node(n as u16, INGRESS)).collect();
    let id = ServiceId::new(0).expect("the first service");
    intent(vec![(vip(80), id)], vec![service], clusters, nodes)
}

/// Flows over large tables: both runners choose the node that a search by hand finds.
pub fn flows() -> anyhow::Result<()> {
    let mut numbers = Numbers(2);
    for hash in [HashAlgorithm::Multilinear, HashAlgorithm::SipHash] {
        let intent = spread(&mut numbers);
        let mut memory = MemoryRunner::new(&intent, hash)?;
        let kernel = KernelRunner::new(&intent, hash)?;
        let key = secret::expand(&SECRET, hash);
        for _ in 0..5_000 {
            // Neither from 0.0.0.0/8 nor from where nobody sends from.
            let source = (0x0100_0000 + numbers.below(0x7e00_0000) as u32).to_be_bytes();
            let source_port = numbers.next() as u16;
            let frame = frames::tcp((source, source_port), (VIP, 80));
            let ports = u32::from(source_port) << 16 | 80;
            let (from, to) = (u32::from_be_bytes(source), u32::from_be_bytes(VIP));
            let flow = FlowKey::v4(from, to, ports, 6);
            let expected = node_mac(by_hand(&intent, key.hash(&flow).0)?);
            let (mine, its) = (memory.run(&frame), kernel.run(&frame)?);
            ensure!(mine == its, "{flow:?}: memory says {mine:?}, the kernel {its:?}");
            ensure!(mine.frame[..6] == expected, "{flow:?}: {:?}, not {expected:?}", mine.frame);
        }
    }
    Ok(())
}

/// The rule in other words: a table of n slots is the half's fraction of 2^32, times n.
fn by_hand(intent: &Intent, hash: u64) -> anyhow::Result<u16> {
    let pick = |slots: &[Slot], half: u64| slots[((half * slots.len() as u64) >> 32) as usize];
    let owner = pick(&intent.services[0].slots, hash >> 32).member();
    let owner = owner.ok_or_else(|| anyhow::anyhow!("a slot of nobody"))?;
    ensure!(cluster(usize::from(owner)) == Slot::clean(owner), "{owner} is no cluster");
    let node = pick(&intent.clusters[usize::from(owner)].slots, hash & 0xffff_ffff).member();
    node.ok_or_else(|| anyhow::anyhow!("a slot of nobody"))
}
