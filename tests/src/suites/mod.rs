//! The suites on the real kernel, each a file with its cases.

mod attach;
mod cleanup;
mod connections;
mod decap;
mod detection;
mod fooled;
mod hops;
mod lab;
mod operator;
mod orders;
mod per_service;
mod probes;
mod program;
mod refused;
mod restart;
mod road;
mod small;
mod story;
mod survey;
mod trace;
mod two_labs;
mod via;
mod ward;
mod wires;

use crate::{pipeline, runner::Case};

/// All cases, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Case> {
    let network = [
        lab::CASES,
        cleanup::CASES,
        two_labs::CASES,
        road::CASES,
        restart::CASES,
        connections::CASES,
        refused::CASES,
        operator::CASES,
        orders::CASES,
        hops::CASES,
        via::CASES,
        probes::CASES,
        survey::CASES,
        trace::CASES,
        fooled::CASES,
        per_service::CASES,
        story::CASES,
        detection::CASES,
    ];
    [pipeline::suites(), attach::CASES.to_vec(), decap::CASES.to_vec(), network.concat()].concat()
}
