//! Time per packet of the loaded program, beside floors that do next to nothing, in the same rounds.

mod cases;
mod feeder;
mod frames;
mod plans;
mod rounds;

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::Xdp;
use lb_common::{FlowHash, HashAlgorithm};
use lb_user::{dataplane::PROGRAM, secret};
use serde::Serialize;

use super::{
    chart::{self, Bar},
    machine::Machine,
    table,
};
use crate::{
    netns::Netns,
    owner::Owner,
    pipeline::{KernelRunner, SECRET},
    stop::Stop,
};
use cases::Target;
use feeder::{Feeder, Floor};
use plans::Plan;
use rounds::{Measured, Rounds};

/// How flows are hashed.
const HASH: HashAlgorithm = HashAlgorithm::Multilinear;

/// Time per packet.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// The program.
    pub program: Program,
    /// Rounds that count, in which other CPUs did next to nothing.
    pub rounds: usize,
    /// Rounds that do not.
    pub rounds_dropped: usize,
    /// Nanoseconds of the floors, the feeder included: medians.
    pub floors: Vec<(&'static str, f64)>,
    /// The cases.
    pub rows: Vec<Row>,
}

/// The program as the kernel has it.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Instructions that the verifier followed.
    pub verified_instructions: u32,
    /// Bytes of its instructions.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub machine_code_bytes: u32,
    /// Bytes of memory that the kernel accounts for each map.
    pub maps: Vec<(String, u64)>,
}

/// A case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Nanoseconds over the first floor: the median of rounds.
    pub net_ns: f64,
    /// The first and the third quartile.
    pub quartiles_ns: [f64; 2],
    /// Nanoseconds with the feeder and the kernel's own part: the median.
    pub gross_ns: f64,
    /// What it may cost, if that is said.
    pub at_most_ns: Option<f64>,
}

/// Measures. `object` has the benchmark's programs.
///
/// # Errors
/// The kernel refuses something, packets did not end as they should have, the machine is too busy, or
/// the switch is pulled.
pub fn run(object: &[u8], quick: bool, stop: &Stop) -> Result<Section> {
    let names = vec![Owner::this().netns("bench")];
    let netns = Netns::create(names)?.pop().context("the namespace")?;
    // A way to clients, for replies: through a router that is there for good.
    netns.ip("link set lo up\nlink add out type veth peer name far\n\
         link set far up\nlink set out up address 02:00:00:00:00:1b\n\
         address add 10.255.0.1/24 dev out\naddress add fdff::1/64 dev out nodad\n\
         neighbour add 10.255.0.2 lladdr 02:00:00:00:00:c1 dev out nud permanent\n\
         neighbour add fdff::2 lladdr 02:00:00:00:00:c1 dev out nud permanent\n\
         route add default via 10.255.0.2\nroute add default via fdff::2\n")?;
    netns.sysctl(&[("ipv4/conf/all/forwarding", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    netns.run(|| inside(object, quick, stop))
}

fn inside(object: &[u8], quick: bool, stop: &Stop) -> Result<Section> {
    let out = nix::net::if_::if_nametoindex("out")?;
    let runner = KernelRunner::new(&Plan::ONE.intent(out)?, HASH)?;
    let program = program(&runner)?;
    let groups = cases::all(clean_flow());
    let mut rounds = Rounds::new(runner, Feeder::load(object)?, groups, out, quick)?;
    let measured = rounds.run(stop)?;
    let floors = Floor::ALL.iter().enumerate();
    Ok(Section {
        program,
        rounds: measured.kept,
        rounds_dropped: measured.dropped,
        floors: floors.map(|(i, floor)| (floor.name(), measured.floors[i].median())).collect(),
        rows: rows(&measured)?,
    })
}

/// The flow of whose slot nothing moves.
fn clean_flow() -> FlowHash {
    secret::expand(&SECRET, HASH).hash(&plans::flow_zero())
}

fn rows(measured: &Measured) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for (case, figures) in &measured.cases {
        let row = Row {
            name: case.name,
            net_ns: figures.net.median(),
            quartiles_ns: figures.net.quartiles(),
            gross_ns: figures.gross.median(),
            at_most_ns: at_most(case.target, &rows)?,
        };
        rows.push(row);
    }
    Ok(rows)
}

/// What a case may cost, if that is said; the cases before it are known.
fn at_most(target: Target, rows: &[Row]) -> Result<Option<f64>> {
    let of = |name: &str| {
        let row = rows.iter().find(|row| row.name == name);
        Ok::<_, anyhow::Error>(row.with_context(|| format!("no case {name:?} before it"))?.net_ns)
    };
    Ok(match target {
        Target::Told => None,
        Target::Ns(ns) => Some(ns),
        Target::Times(times, name) => Some(times * of(name)?),
        Target::TimesOrMore(times, more, name) => Some((times * of(name)?).max(of(name)? + more)),
        Target::More(more, name) => Some(of(name)? + more),
    })
}

fn program(runner: &KernelRunner) -> Result<Program> {
    let ebpf = &runner.opened.ebpf;
    let program: &Xdp = ebpf.program(PROGRAM).context("the program")?.try_into()?;
    let info = program.info()?;
    let mut maps = Vec::new();
    for spec in lb_common::maps::ALL {
        let pin = runner.directory().join(spec.name);
        let map = aya::maps::MapInfo::from_pin(&pin).with_context(|| spec.name)?;
        maps.push((spec.name.to_owned(), memory(map.fd()?)?));
    }
    Ok(Program {
        verified_instructions: info.verified_instruction_count().context("an older kernel")?,
        translated_bytes: info.size_translated().context("no translated instructions")?,
        machine_code_bytes: info.size_jitted(),
        maps,
    })
}

/// What the kernel accounts for a map: `memlock` of its descriptor.
fn memory(fd: aya::maps::MapFd) -> Result<u64> {
    use std::os::fd::{AsFd, AsRawFd};
    let fd = fd.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.context("no memlock")?.trim().parse()?)
}

impl Section {
    /// Draws the cases as bars.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn draw(&self, file: &Path, machine: &Machine) -> Result<()> {
        let bar =
            |row: &Row| Bar { name: row.name.to_owned(), value: row.net_ns, mark: row.at_most_ns };
        let bars: Vec<Bar> = self.rows.iter().map(bar).collect();
        let title = format!("ns per packet over XDP_TX, marks: targets ({machine})");
        chart::draw(file, &title, &bars)
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let judged = match row.at_most_ns {
                None => [String::new(), String::new()],
                Some(most) => {
                    let held = if row.net_ns <= most { "held" } else { "missed" };
                    [format!("{most:.1}"), held.to_owned()]
                }
            };
            let [low, high] = row.quartiles_ns;
            let [most, held] = judged;
            vec![
                row.name.to_owned(),
                format!("{:.1}", row.net_ns),
                format!("{low:.1} – {high:.1}"),
                format!("{:.1}", row.gross_ns),
                most,
                held,
            ]
        });
        let head = ["packets", "net ns", "quartiles", "gross ns", "at most", ""];
        let floors = self.floors.iter().map(|(name, ns)| format!("{name} {ns:.1} ns"));
        let Program { verified_instructions, translated_bytes, machine_code_bytes, maps } =
            &self.program;
        let all: u64 = maps.iter().map(|(_, bytes)| bytes).sum();
        format!(
            "{}\nfloors, with the feeder: {}\nmedians of {} rounds, {} dropped (other CPUs were busy)\n\
             the program: {verified_instructions} instructions followed by the verifier, \
             {translated_bytes} B of instructions, {machine_code_bytes} B of machine code; \
             its maps: {:.1} MiB\n",
            table(&head, rows),
            floors.collect::<Vec<_>>().join(", "),
            self.rounds,
            self.rounds_dropped,
            all as f64 / f64::from(1 << 20),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{rounds::Cost, *};

    #[test]
    fn targets_are_in_proportion_to_cases_before() {
        let row = Row {
            name: "plain",
            net_ns: 20.0,
            quartiles_ns: [19.0, 21.0],
            gross_ns: 45.0,
            at_most_ns: None,
        };
        let most = |target| at_most(target, std::slice::from_ref(&row)).ok();
        assert_eq!(most(Target::Told), Some(None));
        assert_eq!(most(Target::Ns(5.0)), Some(Some(5.0)));
        assert_eq!(most(Target::Times(1.5, "plain")), Some(Some(30.0)));
        assert_eq!(most(Target::More(2.0, "plain")), Some(Some(22.0)));
        assert_eq!(most(Target::TimesOrMore(2.0, 35.0, "plain")), Some(Some(55.0)));
        assert_eq!(most(Target::TimesOrMore(4.0, 35.0, "plain")), Some(Some(80.0)));
        assert_eq!(most(Target::More(2.0, "another")), None);
    }

    #[test]
    fn each_case_has_a_name_of_its_own_and_a_target() {
        let groups = cases::all(clean_flow());
        let cases = groups.into_iter().flat_map(|(_, cases)| cases);
        let cost =
            || Cost { net: [20.0].into_iter().collect(), gross: [45.0].into_iter().collect() };
        let cases: Vec<_> = cases.map(|case| (case, cost())).collect();
        let measured = Measured { kept: 1, dropped: 0, floors: Default::default(), cases };
        let rows = rows(&measured).expect("targets refer to cases before");
        let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
    }
}
