//! Commits, while packets run and while somebody is killed.

use std::{
    env,
    ops::ControlFlow,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, bail, ensure};
use aya::Ebpf;
use lb_common::{HashAlgorithm, ServiceId};
use lb_ebpf::Action;
use lb_user::{
    dataplane::{
        Opened,
        memory::Memory,
        writer::{CommitError, Step, Writer},
    },
    decide::Intent,
};
use nix::sys::signal::{Signal, kill};

use super::{
    frames::{self, CLIENT, VIP},
    random::Numbers,
    runners::{KernelRunner, MemoryRunner, run_raw},
    world::{INGRESS, all, cluster, intent, member, node, node_mac, table, vip},
};

/// Nodes that the two plans lead to. Every mixture of them leads to another node.
const NODES: [u16; 2] = [10, 20];
/// The argument that makes `suites` a writer who kills itself.
pub const KILLED_WRITER: &str = "--killed-writer";

/// Plan `which` of two. It uses its own cluster and node; the records and tables that only the
/// other plan uses are poisoned, so that a packet that mixes generations ends elsewhere.
fn plan(which: usize) -> Intent {
    let other = 1 - which;
    let mut clusters = vec![all(member(0)), all(member(0))];
    clusters[which] = all(member(1 + which));
    let mut nodes = vec![node(666, INGRESS); 3];
    nodes[1 + which] = node(NODES[which], INGRESS);
    nodes[1 + other] = node(667, INGRESS);
    let id = ServiceId::new(0).expect("the first service");
    intent(vec![(vip(80), id)], vec![all(cluster(which))], clusters, nodes)
}

/// The node that a packet goes to.
fn leads_to(ebpf: &Ebpf) -> anyhow::Result<u16> {
    let (action, frame) = run_raw(ebpf, &frames::tcp((CLIENT, 9), (VIP, 80)))?;
    ensure!(action == Action::Tx, "{action:?} by\n{}", frames::print(&frame));
    (0..=u16::MAX)
        .find(|&node| frame[..6] == node_mac(node))
        .with_context(|| format!("no node's MAC:\n{}", frames::print(&frame)))
}

/// Packets on one CPU, commits on the other: every packet sees the one plan or the other.
pub fn atomic_under_test_runs() -> anyhow::Result<()> {
    const COMMITS: u64 = 400;
    let mut kernel = KernelRunner::new(&plan(0), HashAlgorithm::Multilinear)?;
    let memory = kernel.opened.dataplane.memory().clone();
    let done = AtomicBool::new(false);
    let mut writer = Writer::adopt(&memory);
    // Taken apart: the packets' thread has the program, this one the grace map.
    let Opened { ebpf, grace, .. } = &mut kernel.opened;
    let ebpf = &*ebpf;
    thread::scope(|scope| {
        let seen = scope.spawn(|| -> anyhow::Result<[u64; 2]> {
            let mut seen = [0; 2];
            while !done.load(Ordering::Relaxed) {
                let to = leads_to(ebpf)?;
                match NODES.iter().position(|&node| node == to) {
                    Some(which) => seen[which] += 1,
                    None => bail!("a packet went to node {to}: a mixture of two plans"),
                }
            }
            Ok(seen)
        });
        let commits = (|| -> anyhow::Result<()> {
            for number in 0..COMMITS {
                let intent = plan((number % 2) as usize);
                while let Err(error) = writer.commit(&memory, &intent) {
                    ensure!(error == CommitError::Busy, "{error}");
                    let epoch = writer.epoch();
                    grace.wait()?;
                    writer.graced(epoch);
                }
                if seen.is_finished() {
                    break;
                }
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let seen = seen.join().map_err(|_| anyhow::anyhow!("the packets' thread panicked"))??;
        commits?;
        ensure!(writer.epoch() > COMMITS, "only {} commits", writer.epoch());
        ensure!(seen.iter().all(|&n| n > 100), "the plans were seen {seen:?} times: too few");
        Ok(())
    })
}

/// A writer killed with SIGKILL before each step of a commit: the old plan or the new one is in
/// force, and the next writer goes on from there.
pub fn killed_at_each_step() -> anyhow::Result<()> {
    let mut steps = Vec::new();
    let mut memory = MemoryRunner::new(&plan(0), HashAlgorithm::Multilinear)?;
    memory.writer.commit_observed(&memory.memory, &plan(1), |step| {
        steps.push(step);
        ControlFlow::Continue(())
    })?;
    ensure!(steps.first() == Some(&Step::Begin) && steps.last() == Some(&Step::Done), "{steps:?}");
    ensure!(steps.iter().any(|s| matches!(s, Step::Table(_))), "no table written: {steps:?}");

    for (number, step) in steps.iter().enumerate() {
        let kernel = KernelRunner::new(&plan(0), HashAlgorithm::Multilinear)?;
        let status = Command::new(env::current_exe()?)
            .args([KILLED_WRITER, &kernel.directory().display().to_string(), &number.to_string()])
            .status()?;
        ensure!(!status.success(), "the writer survived {step:?}");
        let expected = NODES[usize::from(*step == Step::Done)];
        let is = leads_to(&kernel.opened.ebpf)?;
        ensure!(is == expected, "killed at {step:?}: packets go to {is}, not {expected}");

        let memory = kernel.opened.dataplane.memory();
        let mut writer = Writer::adopt(memory);
        let used = writer.chunks_in_use();
        ensure!(used > 0 && used < 20, "killed at {step:?}: {used} chunks in use");
        writer.commit(memory, &plan(1))?;
        let is = leads_to(&kernel.opened.ebpf)?;
        ensure!(is == NODES[1], "after {step:?} and a new commit packets go to {is}");
    }
    Ok(())
}

/// The writer that is killed: commits plan 1 and kills itself at the step with this number.
///
/// # Errors
/// The maps cannot be opened; or it is still alive at the end.
pub fn killed_writer(directory: &str, at: &str) -> anyhow::Result<()> {
    let memory = Memory::open(directory.as_ref())?;
    let at: usize = at.parse()?;
    let mut number = 0;
    Writer::adopt(&memory).commit_observed(&memory, &plan(1), |_| {
        if number == at {
            // Signalled to this very process: it ends here.
            let _ = kill(nix::unistd::getpid(), Signal::SIGKILL);
        }
        number += 1;
        ControlFlow::Continue(())
    })?;
    bail!("there is no step {at}")
}

/// Thousands of commits of ever new tables: chunks come back after each grace period, and when
/// there is no room the commit is refused and the plan in force stays.
pub fn room_comes_back() -> anyhow::Result<()> {
    let memory = Memory::anonymous()?;
    let mut writer = Writer::adopt(&memory);
    let mut numbers = Numbers(3);
    let mut random = |log2: u32| table((0..1u32 << log2).map(|_| member(numbers.below(50))));
    let nodes: Vec<_> = (0..50).map(|n| node(n, INGRESS)).collect();
    let id = ServiceId::new(0).expect("the first service");
    let mut plan_of = |tables: usize, log2: u32| {
        let clusters = (0..tables).map(|_| random(log2)).collect();
        intent(vec![(vip(80), id)], vec![all(cluster(0))], clusters, nodes.clone())
    };
    for _ in 0..300 {
        writer.commit(&memory, &plan_of(20, 13))?;
        writer.graced(writer.epoch());
    }
    ensure!(writer.chunks_in_use() == 20 * 16 + 2, "{} chunks in use", writer.chunks_in_use());

    // 24,576 chunks hold 48 tables of 512 chunks, if nothing else is there.
    let large = plan_of(40, 18);
    writer.commit(&memory, &large)?;
    let epoch = writer.epoch();
    let refused = writer.commit(&memory, &plan_of(40, 18));
    ensure!(matches!(refused, Err(CommitError::NoRoom { .. })), "{refused:?}");
    ensure!(memory.epoch() == epoch, "a refused commit changed the epoch");
    // The same plan again needs no room: its tables are there.
    writer.commit(&memory, &large)?;
    Ok(())
}
