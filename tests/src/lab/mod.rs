//! The lab: a site under load, a script of failures, and the judgement of what was seen.

pub mod judge;
pub mod lines;
pub mod moves;
pub mod run;
pub mod screen;
pub mod script;
pub mod stage;
pub mod summary;
