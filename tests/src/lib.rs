//! Test harness.
pub mod pipeline;
pub mod runner;
