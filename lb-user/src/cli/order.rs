//! `understudy release` and `reload`: what a running daemon can be told.

use std::path::PathBuf;

use serde::Deserialize;

use super::print;
use crate::{
    config::DEFAULT_SOCKET,
    control::{self, Request},
};

#[derive(clap::Args)]
pub(super) struct Daemon {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(clap::Args)]
pub(super) struct Release {
    /// The cluster.
    cluster: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn release(args: Release) -> anyhow::Result<()> {
    order(&args.daemon, &Request::Release { cluster: args.cluster })
}

pub(super) fn reload(daemon: &Daemon) -> anyhow::Result<()> {
    order(daemon, &Request::Reload)
}

fn order(daemon: &Daemon, request: &Request) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Done {
        done: String,
    }
    let answer: Done = serde_json::from_str(&control::ask(&daemon.socket, request)?)?;
    print(&format!("{}\n", answer.done))?;
    Ok(())
}
