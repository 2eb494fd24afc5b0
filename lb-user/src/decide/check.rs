//! Judges an intended state before it is committed, from the configuration and the health alone.

use super::{Decision, Intent, Model};

/// What is wrong with an intended state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {}

/// Everything that is wrong.
pub fn check(_: &Model, _: &Decision, _: Option<&Intent>, _: &Intent) -> Vec<Violation> {
    Vec::new()
}
