//! `understudy detach`: the one way to take everything off this host.

use std::path::PathBuf;

use super::{load, print};
use crate::{config::DEFAULT_BPFFS, dataplane};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration, for its `bpffs` directory.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the pins.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    bpffs: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let directory = match (args.bpffs, args.config) {
        (Some(directory), _) => directory,
        (None, Some(file)) => load(&file)?.lb.bpffs,
        (None, None) => DEFAULT_BPFFS.into(),
    };
    let said = match dataplane::detach(&directory)? {
        true => format!("detached; {} is gone\n", directory.display()),
        false => format!("nothing is attached: there is no {}\n", directory.display()),
    };
    print(&said)?;
    Ok(())
}
