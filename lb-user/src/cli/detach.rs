//! `understudy detach`: the one way to take everything off this host.

use std::path::PathBuf;

use super::{load, print};
use crate::{
    config::{DEFAULT_BPFFS, DEFAULT_SOCKET},
    daemon::detach::detach,
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration, for its `bpffs` and `socket`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the pins.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    bpffs: Option<PathBuf>,
    /// The daemon's control socket, beside which the files of its plans are.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let (directory, socket) = match args.config {
        Some(file) => {
            let lb = load(&file)?.lb;
            (lb.bpffs, lb.socket)
        }
        None => (
            args.bpffs.unwrap_or_else(|| DEFAULT_BPFFS.into()),
            args.socket.unwrap_or_else(|| DEFAULT_SOCKET.into()),
        ),
    };
    let said = match detach(&directory, &socket)? {
        true => format!("detached; {} is gone\n", directory.display()),
        false => format!("nothing is attached: there is no {}\n", directory.display()),
    };
    print(&said)?;
    Ok(())
}
