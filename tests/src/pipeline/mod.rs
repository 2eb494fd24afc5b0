//! The packet's way, case by case: each runs in memory and in the kernel, which must agree on
//! verdict, bytes and counters, and with what the case expects.

mod cases;
mod commit;

pub mod frames;
mod random;
mod runners;
mod world;

pub use commit::{KILLED_WRITER, killed_writer};

pub use runners::{KernelRunner, run_repeated};
pub use world::world;

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
        Case::new("pipeline/cases", cases::run),
        Case::new("pipeline/every-counter", cases::every_counter_is_covered),
        Case::new("pipeline/random-frames", random::frames),
        Case::new("pipeline/random-flows", random::flows),
        Case::new("commit/atomic", commit::atomic_under_test_runs),
        Case::new("commit/packet-held", commit::packet_held),
        Case::new("commit/killed-at-each-step", commit::killed_at_each_step),
        Case::new("commit/room", commit::room_comes_back),
    ]
}
