//! The control plane: how long tables take to build, a plan to be written, and a verdict to be seen by
//! packets. Done by the daemon's own code, on the maps of a loaded program.

mod bed;
mod commits;
mod shape;
mod tables;
mod times;
mod visible;

use anyhow::Result;
use serde::Serialize;

use super::table;
use crate::stop::Stop;
use commits::Commits;
use shape::Shape;
use tables::Build;
use times::Times;
use visible::Visible;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Slot tables, by size.
    pub builds: Vec<Build>,
    /// Plans written into the kernel's maps, by configuration.
    pub commits: Vec<Commits>,
    /// From a verdict about a node to the first packet that goes by it, by configuration.
    pub visible: Vec<Visible>,
}

/// How often each thing is done.
struct Rounds {
    builds: usize,
    commits: usize,
    visible: usize,
}

/// Measures; needs root, and a program built with the XDP object. `quick`: fewer rounds.
///
/// # Errors
/// The kernel refuses something, what was measured did not happen, or the switch is pulled.
pub fn run(quick: bool, stop: &Stop) -> Result<Section> {
    let rounds = match quick {
        true => Rounds { builds: 5, commits: 5, visible: 10 },
        false => Rounds { builds: 100, commits: 100, visible: 200 },
    };
    eprintln!("control plane: tables");
    let builds = tables::measure(rounds.builds, stop)?;
    eprintln!("control plane: commits");
    let commits = commits::measure(rounds.commits, stop)?;
    eprintln!("control plane: from a verdict to packets");
    let visible = visible::measure(rounds.visible, stop)?;
    Ok(Section { builds, commits, visible })
}

/// Does something with each of these so many times, in turn, so that what else the machine does falls
/// upon all alike. It is told which round it is.
///
/// # Errors
/// Its own, or the switch is pulled.
fn in_turn<T>(
    all: &mut [T],
    rounds: usize,
    stop: &Stop,
    mut what: impl FnMut(&mut T, usize) -> Result<()>,
) -> Result<()> {
    for round in 0..rounds {
        for each in &mut *all {
            stop.check()?;
            what(each, round)?;
        }
    }
    Ok(())
}

impl Section {
    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        format!(
            "Slot tables, µs: the fixed order of all members, who owns each slot while all live, and \
             again after one death\n{}\n\n\
             Plans into the kernel's maps, µs: one of which nothing was there, and one after one \
             node's death; then the wait until the one before may be overwritten\n{}\n\n\
             From a verdict about a node to the first packet that goes by it, µs\n{}\n{}\n\n\
             median / 99 of 100 of as many runs as stand there\n",
            self.builds(),
            self.commits(),
            self.visible(),
            visible::PARTS,
        )
    }

    fn builds(&self) -> String {
        let head = ["members", "slots", "moved", "order", "owners", "one dead", "runs"];
        let rows = self.builds.iter().map(|row| {
            let [members, slots] = [row.members, row.slots].map(|n| n.to_string());
            let moved = format!("{:.0}", row.slots_moved_median);
            let [order, owners, dead] =
                [row.order, row.owners, row.owners_one_dead].map(|t| t.cell());
            vec![members, slots, moved, order, owners, dead, row.order.runs.to_string()]
        });
        table(&head, rows)
    }

    fn commits(&self) -> String {
        let head = ["", "written", "KiB", "chunks", "time", "grace period", "runs"];
        let row = |shape: String, what: &str, row: &commits::Written| {
            let kib = row.bytes / 1024;
            let [time, grace] = [row.time, row.grace].map(|times| times.cell());
            let [kib, chunks] = [kib, u64::from(row.chunks)].map(|n| n.to_string());
            vec![shape, what.to_owned(), kib, chunks, time, grace, row.time.runs.to_string()]
        };
        let rows = self.commits.iter().flat_map(|commits| {
            let shape = commits.shape.to_string();
            [row(shape, "all", &commits.first), row(String::new(), "a death", &commits.death)]
        });
        table(&head, rows)
    }

    fn visible(&self) -> String {
        let head = ["", "a node", "decided", "committed", "seen", "in all", "shown", "runs"];
        let row = |shape: String, what: &str, steps: &visible::Steps| {
            let times: [Times; 5] =
                [steps.decided, steps.committed, steps.seen, steps.total, steps.shown];
            let cells = times.iter().map(Times::cell);
            let runs = steps.total.runs.to_string();
            [shape, what.to_owned()].into_iter().chain(cells).chain([runs]).collect()
        };
        let rows = self.visible.iter().flat_map(|visible| {
            let shape = visible.shape.to_string();
            [row(shape, "dies", &visible.deaths), row(String::new(), "returns", &visible.returns)]
        });
        table(&head, rows)
    }
}
