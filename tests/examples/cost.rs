//! What a packet costs, as the kernel reports it for `BPF_PROG_TEST_RUN`; needs root.
//!
//! `UNDERSTUDY_OBJECT=… cargo run --release -p tests --example cost`

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{
    owner,
    pipeline::{KernelRunner, World, frames, run_repeated, to::To},
};
use lb_common::HashAlgorithm;
use lb_ebpf::Action;

const ROUNDS: usize = 25;
const REPEAT: u32 = 1_000_000;

/// What is measured: a packet, and what must become of it.
type Kind = (&'static str, Vec<u8>, Action);

fn main() -> Result<()> {
    owner::mount_bpffs()?;
    owner::clear_dead()?;
    let kinds: [Kind; 3] = [
        ("tx", frames::tcp((frames::CLIENT, 9), (frames::VIP, To::Tx.port())), Action::Tx),
        ("not-vip", frames::tcp((frames::CLIENT, 9), ([203, 0, 113, 1], 80)), Action::Pass),
        ("arp", frames::arp(), Action::Pass),
    ];
    let hashes = [HashAlgorithm::Multilinear, HashAlgorithm::SipHash];
    let runners = [
        KernelRunner::new(&World::Host.intent(), hashes[0])?,
        KernelRunner::new(&World::Host.intent(), hashes[1])?,
    ];
    let mut times: [[Vec<Duration>; 3]; 2] = Default::default();
    // Interleaved, so that what else the machine does falls upon all alike.
    for _ in 0..ROUNDS {
        for (runner, times) in runners.iter().zip(&mut times) {
            for ((name, frame, expected), times) in kinds.iter().zip(times) {
                let ((action, _), time) = run_repeated(&runner.opened.ebpf, frame, REPEAT)?;
                ensure!(action == *expected, "{name}: {action:?}");
                times.push(time);
            }
        }
    }
    println!("ns per packet: median (least) of {ROUNDS} rounds of {REPEAT}");
    println!("{:<12}{}", "", kinds.map(|(name, ..)| format!("{name:>12}")).concat());
    for (hash, times) in hashes.iter().zip(&mut times) {
        let cells = times.each_mut().map(|times| {
            times.sort();
            format!("{} ({})", times[ROUNDS / 2].as_nanos(), times[0].as_nanos())
        });
        println!("{:<12}{}", format!("{hash:?}"), cells.map(|cell| format!("{cell:>12}")).concat());
    }
    Ok(())
}
