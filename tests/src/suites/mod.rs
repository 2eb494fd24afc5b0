//! The suites on the real kernel, each a file with its cases.

mod attach;
mod cleanup;
mod lab;
mod lab_child;
mod operator;
mod refused;
mod restart;
mod small;
mod two_labs;
mod via;

use crate::{pipeline, runner::Case};

/// All cases, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Case> {
    let network = [
        lab::CASES,
        cleanup::CASES,
        two_labs::CASES,
        restart::CASES,
        refused::CASES,
        operator::CASES,
        via::CASES,
    ];
    [pipeline::suites(), attach::CASES.to_vec(), network.concat()].concat()
}
