//! The benchmark: what a packet costs, what the daemon needs, and how that compares with others.

mod chart;
pub mod control;
pub mod field;
pub mod figures;
pub mod machine;
pub mod packets;

use std::sync::Arc;

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use lb_user::decide::{Effect, Intent};
use serde::Serialize;

/// All that was measured in one run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: machine::Machine,
    /// Time per packet, if that was asked for.
    pub packets: Option<packets::Section>,
    /// What the daemon needs, if that was asked for.
    pub control: Option<control::Section>,
    /// The same work done by others, if that was asked for.
    pub field: Option<field::Section>,
}

/// A table for people: its first column to the left, figures to the right.
#[must_use]
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head.to_vec()).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The plan that a step of the state came to, if there is one.
fn published(effects: Vec<Effect>) -> Result<Option<Arc<Intent>>> {
    let mut plan = None;
    for effect in effects {
        match effect {
            Effect::Publish(intent) => plan = Some(intent),
            Effect::Refused(violations) => bail!("a plan was refused: {violations:?}"),
            Effect::Notice(_) => {}
        }
    }
    Ok(plan)
}
