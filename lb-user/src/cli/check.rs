//! `understudy check`: is a configuration right?

use std::path::PathBuf;

use super::{load, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    load(&args.file)?;
    print(&format!("{}: fine\n", args.file.display()))?;
    Ok(())
}
