//! understudy, the library: configuration, decisions, probes, data plane, daemon.
//!
//! Dependencies go one way: config → decide → {probe, survey, nexthop, dataplane} → engine →
//! {explain, trace} → daemon → cli.

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod decide;
pub mod engine;
pub mod explain;
pub mod nexthop;
pub mod object;
pub mod packet;
pub mod probe;
pub mod secret;
pub mod survey;
pub mod trace;
pub mod vippath;
