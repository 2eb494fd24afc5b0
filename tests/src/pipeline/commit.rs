//! Commits, while packets run and while somebody is killed.

use std::{
    cell::{Cell, RefCell},
    env,
    ops::ControlFlow,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use aya::Ebpf;
use lb_common::{
    ClusterId, Directory, HashAlgorithm, Reason, ServiceId, Slot, SlotState,
    layout::{CHUNK_SLOTS, GENERATIONS, MIN_TABLE_LOG2},
};
use lb_ebpf::{Action, Tables};
use lb_user::{
    dataplane::{
        Opened,
        grace::Grace,
        memory::Memory,
        watched::{Question, Watched},
        writer::{CommitError, Step, Writer},
    },
    decide::{Intent, Table},
    packet::Packet,
};
use nix::sys::signal::{Signal, kill};

use crate::clock::Moment;

use super::{
    frames::{self, CLIENT, VIP},
    random::Numbers,
    runners::{KernelRunner, MemoryRunner, run_repeated},
    world::{INGRESS, all, cluster, intent, member, node, node_mac, table, vip},
};

/// How many plans take turns. Coprime to the number of generations: a generation, and a chunk, is
/// always written anew with another plan's bytes.
const PLANS: usize = 5;
const _: () = assert!(PLANS > GENERATIONS as usize && PLANS % 2 == 1);
/// The node that each plan leads to.
const NODES: [u16; PLANS] = [10, 20, 30, 40, 50];
/// Chunks of each table.
const TABLE_CHUNKS: u32 = (1 << MIN_TABLE_LOG2) / CHUNK_SLOTS;
/// The file of the plan of the writer that is killed.
const FILE: u64 = 77;
/// The argument that makes `suites` a writer who kills itself.
pub const KILLED_WRITER: &str = "--killed-writer";

/// Plan `which`: service, cluster and node of that number lead to its node. All others lead to a
/// node that cannot be reached, by tables that no other plan has, so that a packet that mixes two
/// plans is dropped. In odd plans the slots of the cluster drain: it is their base that leads to the node.
fn plan(which: usize) -> Intent {
    let only = |good: Slot, poison: Slot| {
        let choose = move |number| if number == which { good } else { poison };
        (0..PLANS).map(move |number| all(choose(number))).collect::<Vec<_>>()
    };
    // From PLANS on no plan has a cluster.
    let services = only(cluster(which), cluster(PLANS + which));
    // From 3 * PLANS on no plan has a node. No number stands in two tables: slots are but numbers.
    let (good, poison) = (member(2 * PLANS + which), member(3 * PLANS + which));
    let mut clusters = only(good, poison);
    if which % 2 == 1 {
        let base = Some(clusters[which].slots.clone());
        clusters[which] = Table { base, ..all(poison.in_state(SlotState::Drain)) };
    }
    let mut nodes = vec![node(666, 0); 3 * PLANS];
    nodes[2 * PLANS + which] = node(NODES[which], INGRESS);
    let id = ServiceId::new(which).expect("a service that the maps have");
    intent(vec![(vip(80), id)], services, clusters, nodes)
}

/// The plan that sent a frame on; by test runs that repeat themselves perhaps the one before, whose
/// frame this plan passes because it is the node's already.
fn sent_by(action: Action, frame: &[u8]) -> anyhow::Result<usize> {
    ensure!(
        matches!(action, Action::Tx | Action::Pass),
        "{action:?}, a mixture of plans?\n{}",
        frames::print(frame)
    );
    let plan = NODES.iter().position(|&node| frame[..6] == node_mac(node));
    plan.with_context(|| format!("to a node of no plan:\n{}", frames::print(frame)))
}

/// The plan that the kernel's packets see: of so many, the last.
fn seen_by(ebpf: &Ebpf, packets: u32) -> anyhow::Result<usize> {
    let (action, frame) = run_repeated(ebpf, &frames::reset((CLIENT, 9), (VIP, 80)), packets)?.0;
    sent_by(action, &frame)
}

/// Packets on one CPU, commits on the other: every packet sees one plan and no mixture.
pub fn atomic_under_test_runs() -> anyhow::Result<()> {
    const COMMITS: usize = 400;
    const AT_LEAST: Duration = Duration::from_secs(2);
    const AT_MOST: Duration = Duration::from_secs(60);
    /// How often single packets see each plan at least.
    const OFTEN: u64 = 100;
    let start = Moment::now();
    let mut kernel = KernelRunner::new(&plan(0), HashAlgorithm::Multilinear)?;
    let memory = kernel.opened.dataplane.memory().clone();
    let (done, seen) = (AtomicBool::new(false), Seen::default());
    let often = || seen.iter().all(|seen| seen.load(Ordering::Relaxed) >= OFTEN);
    // Taken apart: the packets' thread has the program, this one the grace map.
    let Opened { ebpf, grace, dataplane, .. } = &mut kernel.opened;
    let ebpf = &*ebpf;
    thread::scope(|scope| {
        let packets = scope.spawn(|| run_packets(ebpf, &done, &seen));
        let commits = run_commits(&memory, grace, |number| {
            ensure!(start.elapsed() < AT_MOST, "some plans are not seen: {seen:?}");
            let enough = number >= COMMITS && start.elapsed() >= AT_LEAST && often();
            Ok(!enough && !packets.is_finished())
        });
        done.store(true, Ordering::Relaxed);
        packets.join().map_err(|_| anyhow!("the packets' thread panicked"))??;
        commits
    })?;
    for (reason, count) in dataplane.counters()?.iter() {
        // The last one is counted beside the verdict, of packets of odd plans.
        let sent = matches!(reason, Reason::ForwardTx | Reason::PassNotOurs | Reason::PinLookedFor);
        ensure!(sent || count == 0, "{count} times {}: mixtures of plans", reason.name());
    }
    Ok(())
}

/// How often single packets saw each plan.
type Seen = [AtomicU64; PLANS];

fn run_packets(ebpf: &Ebpf, done: &AtomicBool, seen: &Seen) -> anyhow::Result<()> {
    let mut round = 0;
    while !done.load(Ordering::Relaxed) {
        // Long runs, so that commits fall into them: a mixture is counted as a drop. Not all of one
        // length: commits wait for them, and in step with them single packets would see some plans
        // only.
        round += 1;
        seen_by(ebpf, 100_000 / (1 + round % 7))?;
        for _ in 0..200 {
            seen[seen_by(ebpf, 1)?].fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Commits one plan after the other while it is to go on, which is told how many there were. Fails if
/// packets were not waited for.
fn run_commits(
    memory: &Memory,
    grace: &mut Grace,
    mut goes_on: impl FnMut(usize) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    const NO_WAIT: Duration = Duration::from_micros(200);
    let mut writer = Writer::adopt(memory);
    let (mut waits, mut number) = (Vec::new(), 0);
    while goes_on(number)? {
        number += 1;
        let intent = plan(number % PLANS);
        while let Err(error) = writer.commit(memory, &intent) {
            ensure!(error == CommitError::Busy, "{error}");
            let (epoch, before) = (writer.epoch(), Moment::now());
            grace.wait()?;
            waits.push(before.elapsed());
            writer.graced(epoch);
        }
    }
    // Each grace period frees all generations but the one in force.
    ensure!(waits.len() >= number / GENERATIONS as usize, "busy {} times", waits.len());
    // No packet can be held in the kernel to see that it is waited for; but an update that waits for
    // nothing is a matter of microseconds.
    waits.sort();
    let median = waits.get(waits.len() / 2).context("no commit had to wait")?;
    ensure!(*median > NO_WAIT, "grace periods of {median:?} wait for nobody");
    Ok(())
}

/// A packet that stands still before one of its questions, while the writer goes on until it must
/// wait: whichever question that is, the packet sees the plan that it began with.
pub fn packet_held() -> anyhow::Result<()> {
    let MemoryRunner { memory, mut writer, .. } =
        MemoryRunner::new(&plan(0), HashAlgorithm::Multilinear)?;
    writer.graced(writer.epoch());
    let mut number = 0;
    // So that every question meets every plan in every generation.
    for _ in 0..PLANS * GENERATIONS as usize {
        let mut question = 0;
        loop {
            let began_with = number % PLANS;
            // The epoch comes first; a packet may be held before any question behind it.
            let (left, result) = (Cell::new(Some(question)), Cell::new(None));
            let between = RefCell::new(|| until_busy(&mut writer, &memory, &mut number));
            let held = Watched::new(&memory, |asked| {
                if asked == Question::Epoch {
                    return;
                }
                if left.get() == Some(0) {
                    result.set(Some(between.borrow_mut()()));
                }
                left.set(left.get().and_then(|left: usize| left.checked_sub(1)));
            });
            let mut frame =
                Packet { ingress: INGRESS, ..Packet::new(frames::reset((CLIENT, 9), (VIP, 80))) };
            let verdict = lb_ebpf::process(&mut frame, &held);
            let result = result.take();
            let was_held = result.is_some();
            result.unwrap_or(Ok(())).with_context(|| format!("held before question {question}"))?;
            let is = sent_by(verdict.action(), &frame.bytes)
                .with_context(|| format!("held before question {question}"))?;
            ensure!(is == began_with, "question {question}: plan {is}, not {began_with}");
            // The packet has ended; only now older generations may go.
            writer.graced(writer.epoch());
            if !was_held {
                break;
            }
            question += 1;
        }
        ensure!(question >= 8, "a packet asks only {question} questions");
        number += 1;
        writer.commit(&memory, &plan(number % PLANS))?;
        writer.graced(writer.epoch());
    }
    Ok(())
}

/// Commits one plan after the other without any grace period: one less than there are generations,
/// and then the writer refuses, and changes nothing.
fn until_busy(writer: &mut Writer, memory: &Memory, number: &mut usize) -> anyhow::Result<()> {
    for _ in 1..GENERATIONS {
        *number += 1;
        writer.commit(memory, &plan(*number % PLANS))?;
    }
    let (epoch, used) = (memory.epoch(), writer.chunks_in_use());
    let refused = writer.commit(memory, &plan((*number + 1) % PLANS));
    ensure!(refused == Err(CommitError::Busy), "the commit too many: {refused:?}");
    ensure!((memory.epoch(), writer.chunks_in_use()) == (epoch, used), "it changed something");
    // Four tables a plan and a base in odd ones, and none is shared.
    let last = (0..GENERATIONS as usize).map(|before| (*number - before) % PLANS);
    let tables: u32 = last.map(|which| 4 + which as u32 % 2).sum();
    let chunks = tables * TABLE_CHUNKS;
    ensure!(used == chunks, "{used} chunks in use, {tables} tables have {chunks}");
    Ok(())
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
        let expected = usize::from(*step == Step::Done);
        let is = seen_by(&kernel.opened.ebpf, 1)?;
        ensure!(is == expected, "killed at {step:?}: packets see plan {is}, not {expected}");

        let memory = kernel.opened.dataplane.memory();
        is_in_force(memory, &plan(expected)).with_context(|| format!("killed at {step:?}"))?;
        let mut writer = Writer::adopt(memory);
        let (used, file) = (writer.chunks_in_use(), writer.file());
        ensure!(
            used == (4 + expected as u32) * TABLE_CHUNKS,
            "killed at {step:?}: {used} chunks in use"
        );
        ensure!(file == [0, FILE][expected], "killed at {step:?}: its file is {file}");
        writer.commit(memory, &plan(1))?;
        let is = seen_by(&kernel.opened.ebpf, 1)?;
        ensure!(is == 1, "after {step:?} and a new commit packets see plan {is}");
    }
    Ok(())
}

/// Fails unless the node tables in force are those of a plan.
fn is_in_force(memory: &Memory, plan: &Intent) -> anyhow::Result<()> {
    let same = |directory: Directory, slots: &[Slot]| {
        (0..).zip(slots).all(|(i, slot)| memory.table_slot(&directory, i) == Some(*slot))
    };
    for (number, table) in plan.clusters.iter().enumerate() {
        let id = ClusterId::new(number).context("a cluster that the maps have")?;
        let directory = memory.cluster(memory.epoch(), id).context("its directory")?;
        ensure!(same(directory, &table.slots), "cluster {number} is not of this plan");
        let based = match &table.base {
            None => directory.base == Directory::NO_BASE,
            Some(base) => same(Directory { first: directory.base, ..directory }, base),
        };
        ensure!(based, "the base of cluster {number} is not of this plan");
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
    let mut writer = Writer::adopt(&memory);
    writer.name_file(FILE);
    writer.commit_observed(&memory, &plan(1), |_| {
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

/// A base stands beside its table, shared as tables are, for as long as a plan has it; who takes over
/// the memory knows it, too.
pub fn bases() -> anyhow::Result<()> {
    let memory = Memory::anonymous()?;
    let mut writer = Writer::adopt(&memory);
    let id = ServiceId::new(0).expect("the first service");
    let nodes: Vec<_> = (0..3).map(|n| node(n, INGRESS)).collect();
    let plan = |own: usize, base: Option<usize>| {
        let slots = all(member(own)).slots;
        let drain = |slot: &Slot| slot.in_state(SlotState::Drain);
        let base = base.map(|base| all(member(base)).slots);
        let slots = if base.is_some() { slots.iter().map(drain).collect() } else { slots };
        let table = Table { slots, base, ..all(member(own)) };
        // Another cluster is at rest where the first one was before.
        let clusters = vec![table, all(member(0))];
        intent(vec![(vip(80), id)], vec![all(cluster(1))], clusters, nodes.clone())
    };
    let directory = |memory: &Memory, number: usize| {
        let id = ClusterId::new(number).expect("a cluster that the maps have");
        memory.cluster(memory.epoch(), id).context("a directory")
    };
    writer.commit(&memory, &plan(0, None))?;
    writer.graced(writer.epoch());
    ensure!(directory(&memory, 0)?.base == Directory::NO_BASE);
    ensure!(writer.chunks_in_use() == 2 * TABLE_CHUNKS, "{} chunks", writer.chunks_in_use());

    writer.commit(&memory, &plan(1, Some(0)))?;
    writer.graced(writer.epoch());
    let [moved, rests] = [directory(&memory, 0)?, directory(&memory, 1)?];
    ensure!((moved.base, rests.base) == (rests.first, Directory::NO_BASE), "{moved:?}, {rests:?}");
    ensure!(writer.chunks_in_use() == 3 * TABLE_CHUNKS, "{} chunks", writer.chunks_in_use());

    // A base that is nobody's table: whoever takes over must not write over it.
    writer.commit(&memory, &plan(1, Some(2)))?;
    let used = 4 * TABLE_CHUNKS;
    let mut writer = Writer::adopt(&memory);
    ensure!(writer.chunks_in_use() == used, "{} chunks adopted", writer.chunks_in_use());
    let moved = directory(&memory, 0)?;
    writer.commit(&memory, &plan(2, None))?;
    let base = Directory { first: moved.base, ..moved };
    ensure!((0..1 << MIN_TABLE_LOG2).all(|i| memory.table_slot(&base, i) == Some(member(2))));
    writer.graced(writer.epoch());
    ensure!(writer.chunks_in_use() == 3 * TABLE_CHUNKS, "{} chunks", writer.chunks_in_use());

    let mut wrong = plan(1, Some(0));
    wrong.clusters[0].base = Some(vec![member(0); 2 << MIN_TABLE_LOG2].into());
    let refused = writer.commit(&memory, &wrong);
    ensure!(matches!(refused, Err(CommitError::DoesNotFit(_))), "{refused:?}");
    Ok(())
}
