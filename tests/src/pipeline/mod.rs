//! The packet's way, case by case: each runs in memory and in the kernel, which must agree on
//! verdict, bytes and counters, and with what the case expects.

mod cases;
mod check;
mod commit;
pub mod frames;
mod fuzz;
mod kept;
mod mutate;
mod oracle;
pub(crate) mod packets;
mod places;
mod random;
mod replies;
mod rules;
mod runners;
mod scene;
mod scenes;
pub mod to;
mod wire;
pub(crate) mod world;

pub use commit::{KILLED_WRITER, killed_writer};
pub use fuzz::{Ran, fuzz};
pub use runners::{KernelRunner, SECRET, difference, run_repeated};
pub use world::World;

use crate::runner::Case;

/// A plan without services.
#[must_use]
pub fn empty() -> lb_user::decide::Intent {
    world::intent(Vec::new(), Vec::new(), Vec::new(), Vec::new())
}

/// The suites of this module.
#[must_use]
pub fn suites() -> Vec<Case> {
    vec![
        Case::new("pipeline/cases", check::run),
        Case::new("pipeline/every-counter", check::every_counter_is_covered),
        Case::long("pipeline/truncated", check::truncated),
        Case::long("pipeline/kept", kept::run),
        Case::long("pipeline/fuzz", fuzz::run),
        Case::new("pipeline/limit", check::limit),
        Case::network("pipeline/replies", replies::run),
        Case::long("pipeline/random-flows", random::flows),
        Case::new("commit/atomic", commit::atomic_under_test_runs),
        Case::new("commit/packet-held", commit::packet_held),
        Case::long("commit/killed-at-each-step", commit::killed_at_each_step),
        Case::new("commit/room", commit::room_comes_back),
        Case::new("commit/bases", commit::bases),
    ]
}
