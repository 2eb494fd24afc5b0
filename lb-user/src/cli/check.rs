//! `understudy check`: is a configuration right?

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use super::{Format, load, print};
use crate::config::{self, Diagnostic};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    file: PathBuf,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if args.format == Format::Json {
        return in_json(args);
    }
    load(&args.file)?;
    print(&format!("{}: fine\n", args.file.display()))?;
    Ok(())
}

fn in_json(args: &Args) -> anyhow::Result<()> {
    let document = |errors: &[Diagnostic], warnings: &[Diagnostic]| {
        print(&format!("{}\n", json!({ "errors": errors, "warnings": warnings })))
    };
    match config::load(&args.file) {
        Ok(checked) => document(&[], &checked.warnings)?,
        Err(errors) => {
            document(errors.diagnostics(), &[])?;
            bail!("{}: refused", args.file.display());
        }
    }
    Ok(())
}
