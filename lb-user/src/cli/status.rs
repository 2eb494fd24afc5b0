//! `understudy status`: what the running daemon does.

use std::path::PathBuf;

use super::{Format, print};
use crate::{
    config::DEFAULT_SOCKET,
    control::{self, Request},
    daemon::status,
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let answer = control::ask(&args.socket, &Request::Status)?;
    match args.format {
        Format::Json => print(&answer)?,
        Format::Text => print(&status::text(&serde_json::from_str(&answer)?))?,
    }
    Ok(())
}
