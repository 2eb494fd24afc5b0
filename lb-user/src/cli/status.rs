//! `understudy status`: what the running daemon does.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Format, print};
use crate::{
    config::DEFAULT_SOCKET,
    control::{self, Request},
    daemon::{events::Event, status},
};

/// The answer to [`Request::Events`].
#[derive(Deserialize)]
struct Kept {
    events: Vec<Event>,
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Not where traffic goes, but what happened: the last 1,024 events, one a line.
    #[arg(long)]
    events: bool,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    if args.events {
        let kept: Kept = serde_json::from_str(&control::ask(&args.socket, &Request::Events)?)?;
        let lines = kept.events.iter().map(|event| event.line(args.format.into()) + "\n");
        print(&lines.collect::<String>())?;
        return Ok(());
    }
    let answer = control::ask(&args.socket, &Request::Status)?;
    match args.format {
        Format::Json => print(&answer)?,
        Format::Text => print(&status::text(&serde_json::from_str(&answer)?))?,
    }
    Ok(())
}
