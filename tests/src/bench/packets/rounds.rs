//! Rounds: in each, every case and every floor once, on one CPU; what else the machine does falls upon
//! all alike, and if it is much, the round does not count.

use anyhow::{Context, Result, ensure};
use aya::programs::{ProgramFd, Xdp};
use lb_common::{Counters, PinBucket, Reason, pin::FREE};
use lb_user::{dataplane::PROGRAM, decide::Intent};
use nix::sched::sched_getcpu;

use super::{
    cases::{Case, Group, Pins},
    feeder::{Feeder, Floor, Packets},
    frames::frame,
    plans::Moved,
};
use crate::{
    bench::{
        figures::Figures,
        machine::{Idle, pin},
    },
    pipeline::{KernelRunner, difference},
    stop::Stop,
};

/// The part of another CPU's time that may be used in a round that counts.
const MOST_BUSY: f64 = 0.05;

/// What is to be measured, and with what.
pub struct Rounds {
    runner: KernelRunner,
    feeder: Feeder,
    program: ProgramFd,
    floors: [ProgramFd; 3],
    groups: Vec<(Group, Intent)>,
    rounds: usize,
    timed: u64,
}

/// The figures of one case.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Nanoseconds over the first floor of the same tables and round.
    pub net: Figures,
    /// Nanoseconds.
    pub gross: Figures,
}

/// What was measured.
pub struct Measured {
    /// Rounds that count.
    pub kept: usize,
    /// Rounds that do not.
    pub dropped: usize,
    /// Nanoseconds of the floors.
    pub floors: [Figures; 3],
    /// The cases.
    pub cases: Vec<(Case, Cost)>,
}

/// What a case cost, and the first floor beside it.
type Beside = (f64, f64);

impl Rounds {
    /// Makes all ready.
    ///
    /// # Errors
    /// Plans that cannot be, or what `bpf(2)` says.
    pub fn new(
        runner: KernelRunner,
        feeder: Feeder,
        groups: Vec<Group>,
        out: u32,
        quick: bool,
    ) -> Result<Self> {
        let program: &Xdp = runner.opened.ebpf.program(PROGRAM).context("program")?.try_into()?;
        let program = program.fd()?.try_clone()?;
        let floors = Floor::ALL.map(|floor| feeder.floor(floor));
        let [tx, swap, wrap] = floors;
        let with_intent = |group: Group| {
            let intent = group.0.intent(out).with_context(|| format!("{:?}", group.0))?;
            Ok((group, intent))
        };
        let groups = groups.into_iter().map(with_intent).collect::<Result<_>>()?;
        let (rounds, timed) = if quick { (5, 30_000) } else { (25, 100_000) };
        Ok(Self { runner, feeder, program, floors: [tx?, swap?, wrap?], groups, rounds, timed })
    }

    /// Measures.
    ///
    /// # Errors
    /// A packet did not end as it should have, the machine is too busy, or the switch is pulled.
    pub fn run(&mut self, stop: &Stop) -> Result<Measured> {
        let cpu = sched_getcpu()?;
        pin(0, cpu)?;
        let cases = self.groups.iter().flat_map(|((_, cases), _)| cases);
        let cases = cases.map(|case| (*case, Cost::default())).collect();
        let (floors, rounds) = (Default::default(), self.rounds);
        let mut all = Measured { kept: 0, dropped: 0, floors, cases };
        while all.kept < rounds {
            ensure!(all.dropped < 3 * rounds, "other programs keep this machine busy");
            let (number, dropped) = (all.kept + 1, all.dropped);
            eprintln!("time per packet: round {number} of {rounds}, {dropped} dropped so far");
            let before = Idle::look(cpu)?;
            let (floors, costs) = self.round(stop)?;
            let busy = before.others_busy_since()?;
            if busy > MOST_BUSY {
                all.dropped += 1;
                continue;
            }
            all.kept += 1;
            for figures in floors {
                all.floors.iter_mut().zip(figures).for_each(|(all, ns)| all.push(ns));
            }
            for ((_, cost), (gross, floor)) in all.cases.iter_mut().zip(costs) {
                cost.gross.push(gross);
                cost.net.push(gross - floor);
            }
        }
        Ok(all)
    }

    /// All floors of all tables, and of all cases what they cost and the first floor beside them.
    fn round(&mut self, stop: &Stop) -> Result<(Vec<[f64; 3]>, Vec<Beside>)> {
        let (mut floors, mut costs) = (Vec::new(), Vec::new());
        for number in 0..self.groups.len() {
            self.commit(number)?;
            let cases = self.groups[number].0.1.clone();
            for case in cases {
                stop.check()?;
                let packets = self.packets(&case);
                let mut figures = [0.0; 3];
                for (figure, floor) in figures.iter_mut().zip(&self.floors) {
                    *figure = self.feeder.run(floor, &packets)?;
                }
                let gross = self.case(&case, &packets, self.groups[number].0.0.moved)?;
                costs.push((gross, figures[0]));
                floors.push(figures);
            }
        }
        Ok((floors, costs))
    }

    fn commit(&mut self, group: usize) -> Result<()> {
        let opened = &mut self.runner.opened;
        let epoch = opened.dataplane.commit(&self.groups[group].1)?;
        opened.grace.wait()?;
        opened.dataplane.graced(epoch);
        Ok(())
    }

    fn packets(&self, case: &Case) -> Packets {
        let (warm, timed) = match case.pins {
            Pins::NoneAndFew(few) => (0, few),
            _ => (self.timed / 10, self.timed),
        };
        let frame = frame(case.kind, case.v6);
        Packets { frame, v6: case.v6, flows: case.flows, ports: case.hot, warm, timed }
    }

    /// What a packet costs; and whether it was what the case says.
    fn case(&mut self, case: &Case, packets: &Packets, moved: Moved) -> Result<f64> {
        self.prepare(case, packets)?;
        let before = self.counters()?;
        let ns = self.feeder.run(&self.program, packets)?;
        let counted = difference(&before, &self.counters()?)?;
        let sent = packets.warm + packets.timed;
        let of = |wanted: Reason| counted.iter().find(|(reason, _)| *reason == wanted);
        let count = |wanted| of(wanted).map_or(0, |(_, count)| count);
        ensure!(count(case.ends) == sent, "{}: {:?} of {sent}", case.name, seen(&counted));
        let looked = match moved {
            Moved::Nothing | Moved::AllBut(_) => 0,
            Moved::All | Moved::Residue => sent,
        };
        ensure!(count(Reason::PinLookedFor) == looked, "{}: {:?}", case.name, seen(&counted));
        Ok(ns)
    }

    fn prepare(&mut self, case: &Case, packets: &Packets) -> Result<()> {
        let wanted = match case.pins {
            Pins::Any => return Ok(()),
            Pins::NoneAndFew(_) => 0,
            Pins::Of(pins) => pins,
        };
        let memory = self.runner.opened.dataplane.memory();
        for bucket in 0..memory.pins.len() {
            memory.pins.set(bucket, PinBucket::default());
        }
        if wanted == 0 {
            return Ok(());
        }
        let each = Packets { flows: 0, warm: 0, timed: wanted, ..packets.clone() };
        self.feeder.run(&self.program, &each)?;
        let memory = self.runner.opened.dataplane.memory();
        let buckets = (0..memory.pins.len()).filter_map(|bucket| memory.pins.get(bucket));
        let made = buckets.flat_map(|b| b.ways).filter(|pin| pin.tag != FREE).count() as u64;
        ensure!(made * 100 >= wanted * 99, "{}: only {made} pins", case.name);
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        Ok(self.runner.opened.dataplane.counters()?)
    }
}

/// The counters that are not nothing.
fn seen(counters: &Counters) -> Vec<(&'static str, u64)> {
    let all = counters.iter().filter(|(_, count)| *count > 0);
    all.map(|(reason, count)| (reason.name(), count)).collect()
}
