//! `understudy release`, `drain`, `undrain`, `maintain` and `reload`: what a running daemon can be told.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Format, print};
use crate::{
    config::DEFAULT_SOCKET,
    control::{self, Request},
};

#[derive(clap::Args)]
pub(super) struct Daemon {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Args)]
pub(super) struct Release {
    /// The cluster.
    cluster: String,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(clap::Args)]
pub(super) struct Whom {
    /// A cluster, or one of its nodes.
    #[arg(value_name = "CLUSTER[/NODE]")]
    whom: String,
    #[command(flatten)]
    daemon: Daemon,
}

pub(super) fn release(args: Release) -> anyhow::Result<()> {
    order(&args.daemon, &Request::Release { cluster: args.cluster })
}

pub(super) fn drain(Whom { whom, daemon }: Whom) -> anyhow::Result<()> {
    order(&daemon, &Request::Drain { whom })
}

pub(super) fn undrain(Whom { whom, daemon }: Whom) -> anyhow::Result<()> {
    order(&daemon, &Request::Undrain { whom })
}

pub(super) fn maintain(Whom { whom, daemon }: Whom) -> anyhow::Result<()> {
    order(&daemon, &Request::Maintain { whom })
}

pub(super) fn reload(daemon: &Daemon) -> anyhow::Result<()> {
    order(daemon, &Request::Reload)
}

fn order(daemon: &Daemon, request: &Request) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Done {
        done: String,
    }
    let answer = control::ask(&daemon.socket, request)?;
    match daemon.format {
        Format::Json => print(&answer)?,
        Format::Text => {
            let Done { done } = serde_json::from_str(&answer)?;
            print(&format!("{done}\n"))?;
        }
    }
    Ok(())
}
