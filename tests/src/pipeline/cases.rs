//! The cases, as data.

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use lb_common::{Counters, HashAlgorithm, Reason};
use lb_ebpf::Action;

use super::{
    frames::{self, CLIENT, VIP},
    runners::{KernelRunner, MemoryRunner, Outcome},
    world::{node_mac, port, source_mac, world},
};

struct PacketCase {
    name: &'static str,
    frame: Vec<u8>,
    action: Action,
    reason: Reason,
    /// The node whose MAC addresses the frame has afterwards; `None`: it is untouched.
    to: Option<u16>,
}

fn case(
    name: &'static str,
    frame: Vec<u8>,
    action: Action,
    reason: Reason,
    to: Option<u16>,
) -> PacketCase {
    PacketCase { name, frame, action, reason, to }
}

fn syn(port: u16) -> Vec<u8> {
    frames::tcp((CLIENT, 40_000), (VIP, port))
}

fn udp() -> Vec<u8> {
    frames::udp((VIP, port::REDIRECT))
}

fn edited(mut frame: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    edit(&mut frame);
    frame
}

fn cases() -> Vec<PacketCase> {
    let mut cases = forwarded();
    cases.extend(passed());
    cases.extend(dropped());
    cases
}

fn forwarded() -> Vec<PacketCase> {
    use {Action::*, Reason::*};
    vec![
        case("syn", syn(port::TX), Tx, ForwardTx, Some(0)),
        case("data", frames::data(40_000, port::TX, b"GET /"), Tx, ForwardTx, Some(0)),
        case("one byte", frames::data(40_000, port::TX, b"x"), Tx, ForwardTx, Some(0)),
        case("full", frames::data(40_000, port::TX, &[7; 1460]), Tx, ForwardTx, Some(0)),
        case("elsewhere", syn(port::REDIRECT), Redirect, ForwardRedirect, Some(1)),
        case("options", frames::tcp_with_options(1, port::TX, 1), Tx, ForwardTx, Some(0)),
        case("most options", frames::tcp_with_options(1, port::TX, 10), Tx, ForwardTx, Some(0)),
        case("don't fragment", edited(syn(port::TX), |f| f[20] = 0x40), Tx, ForwardTx, Some(0)),
        case("padded", edited(syn(port::TX), |f| f.resize(60, 0)), Tx, ForwardTx, Some(0)),
        case("udp", udp(), Tx, ForwardTx, Some(0)),
        case("udp without checksum", edited(udp(), |f| f[40..42].fill(0)), Tx, ForwardTx, Some(0)),
    ]
}

fn passed() -> Vec<PacketCase> {
    use {Action::Pass, Reason::*};
    let other = [192, 0, 2, 11];
    vec![
        case("arp", frames::arp(), Pass, PassNotIp, None),
        case("ipv6", frames::tcp_v6(), Pass, PassNotIp, None),
        case("ssh to the host", frames::tcp((CLIENT, 5), (other, 22)), Pass, PassNotVip, None),
        case("udp to the host", frames::udp((other, 53)), Pass, PassNotVip, None),
        case("ping the host", frames::ping(other), Pass, PassNotVip, None),
        case("ssh to the vip", syn(22), Pass, PassNoService, None),
        case("other port", syn(port::NOTHING), Pass, PassNoService, None),
        case("udp to the vip", frames::udp((VIP, port::TX)), Pass, PassNoService, None),
        case("ping the vip", frames::ping(VIP), Pass, PassNoService, None),
        case("ethernet alone", syn(port::TX)[..14].to_vec(), Pass, PassMalformed, None),
        case("half an ip header", syn(port::TX)[..33].to_vec(), Pass, PassMalformed, None),
        case("ip version 5", edited(syn(port::TX), |f| f[14] = 0x55), Pass, PassMalformed, None),
        case("header of 16", edited(syn(port::TX), |f| f[14] = 0x44), Pass, PassMalformed, None),
        case(
            "total length below the header's",
            edited(syn(port::TX), |f| f[16..18].copy_from_slice(&[0, 19])),
            Pass,
            PassMalformed,
            None,
        ),
        case("half a tcp header", syn(port::TX)[..53].to_vec(), Pass, PassMalformed, None),
        case(
            "total length ends in the tcp header",
            edited(syn(port::TX), |f| f[16..18].copy_from_slice(&[0, 39])),
            Pass,
            PassMalformed,
            None,
        ),
        case("half a udp header", udp()[..41].to_vec(), Pass, PassMalformed, None),
        case(
            "total length ends in the udp header",
            edited(udp(), |f| f[16..18].copy_from_slice(&[0, 27])),
            Pass,
            PassMalformed,
            None,
        ),
    ]
}

fn dropped() -> Vec<PacketCase> {
    use {Action::Drop, Reason::*};
    vec![
        case("no cluster", syn(port::NO_CLUSTER), Drop, DropNoCluster, None),
        case("no node", syn(port::NO_NODE), Drop, DropNoNode, None),
        case("unresolved", syn(port::UNRESOLVED), Drop, DropUnresolved, None),
        case("cluster out of range", syn(port::BAD_CLUSTER), Drop, DropBadTable, None),
        case("table not there", syn(port::BAD_TABLE), Drop, DropBadTable, None),
        case("no such forwarding", syn(port::BAD_FORWARD), Drop, DropBadTable, None),
    ]
}

impl PacketCase {
    fn expected(&self) -> Outcome {
        let mut frame = self.frame.clone();
        if let Some(node) = self.to {
            frame[..6].copy_from_slice(&node_mac(node));
            frame[6..12].copy_from_slice(&source_mac(node));
        }
        let mut counters = Counters::default();
        counters.count(self.reason);
        Outcome { action: self.action, frame, counters }
    }

    fn compare(&self, who: &str, is: &Outcome) -> Result<(), String> {
        let must = self.expected();
        if *is == must {
            return Ok(());
        }
        let counted = |counters: &Counters| {
            counters
                .iter()
                .filter(|(_, n)| *n > 0)
                .map(|(r, n)| format!("{} {n}", r.name()))
                .collect::<Vec<_>>()
        };
        Err(format!(
            "{} in {who}: {:?} {:?}, must be {:?} {:?}\nis\n{}must be\n{}",
            self.name,
            is.action,
            counted(&is.counters),
            must.action,
            counted(&must.counters),
            frames::print(&is.frame),
            frames::print(&must.frame),
        ))
    }
}

/// Runs all cases in both runners.
pub fn run() -> anyhow::Result<()> {
    let mut failures = Vec::new();
    for hash in [HashAlgorithm::Multilinear, HashAlgorithm::SipHash] {
        let mut memory = MemoryRunner::new(&world(), hash)?;
        let kernel = KernelRunner::new(&world(), hash)?;
        for case in cases() {
            failures.extend(case.compare("memory", &memory.run(&case.frame)).err());
            failures.extend(case.compare("the kernel", &kernel.run(&case.frame)?).err());
        }
    }
    if !failures.is_empty() {
        bail!("{} of the cases differ:\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}

/// The union of all cases covers every counter.
pub fn every_counter_is_covered() -> anyhow::Result<()> {
    let covered: BTreeSet<Reason> = cases().iter().map(|case| case.reason).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|r| !covered.contains(r)).collect();
    ensure!(missing.is_empty(), "no case ends in {missing:?}");
    Ok(())
}
