//! The configuration: raw mirror of the file → checked values, all errors at once.

pub mod types;

pub use types::*;
