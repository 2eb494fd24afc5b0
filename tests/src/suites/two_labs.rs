//! Two labs on one machine do not disturb each other.

use anyhow::{Result, ensure};

use super::program::Program;
use crate::runner::Case;

/// The cases.
pub(super) const CASES: &[Case] = &[Case::network("two-labs/both-hold", both_hold)];

/// A third of the load each, and shares as exact as so few requests allow.
const ARGUMENTS: [&str; 6] = ["--for", "12s", "--rate", "600", "--tolerance", "6"];

fn both_hold() -> Result<()> {
    let mut labs = [Program::lab(&ARGUMENTS)?, Program::lab(&ARGUMENTS)?];
    for lab in &mut labs {
        lab.until_it_says("== the link of a1 goes down")?;
    }
    // Both are in the middle now. Each says the same at about the same time.
    for lab in &mut labs {
        lab.held()?;
    }
    for lab in &labs {
        let left = lab.owner().traces();
        ensure!(left.is_empty(), "{} left {}", lab.owner(), left.join(", "));
    }
    Ok(())
}
