//! understudy, the library: configuration, decisions, probes, data plane, daemon.

pub mod config;
pub mod decide;
