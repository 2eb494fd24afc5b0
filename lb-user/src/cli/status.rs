//! `understudy status`: what the running daemon does; or, if none answers, what holds without it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Format, load, print};
use crate::{
    config::{DEFAULT_BPFFS, DEFAULT_SOCKET},
    control::{self, ControlError, Request},
    daemon::{self, events::Event, status},
    dataplane::life::Life,
};

/// Whose last sign of life is not older lives, or did a moment ago.
const ALIVE: Duration = daemon::HEARTBEAT.saturating_mul(4);

/// The answer to [`Request::Events`].
#[derive(Deserialize)]
struct Kept {
    events: Vec<Event>,
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration, for its `socket` and `bpffs`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The directory of the pins, which is looked at if no daemon answers.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    bpffs: Option<PathBuf>,
    /// Not where traffic goes, but what happened: the last 1,024 events, one a line.
    #[arg(long)]
    events: bool,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What is told of a daemon that does not answer.
#[derive(Serialize)]
struct Silence {
    /// Always: none answers. One that gave a sign of life just now may live, and answer elsewhere.
    daemon: Option<()>,
    epoch: u64,
    /// Since its last sign of life, in seconds; `None`: there never was one.
    heartbeat_age_s: Option<f64>,
    /// To how many interfaces the program is attached.
    interfaces: usize,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (socket, bpffs) = match &args.config {
        Some(file) => {
            let lb = load(file)?.lb;
            (lb.socket, lb.bpffs)
        }
        None => {
            let or =
                |path: &Option<PathBuf>, usual: &str| path.clone().unwrap_or_else(|| usual.into());
            (or(&args.socket, DEFAULT_SOCKET), or(&args.bpffs, DEFAULT_BPFFS))
        }
    };
    if args.events {
        let kept: Kept = serde_json::from_str(&control::ask(&socket, &Request::Events)?)?;
        let lines = kept.events.iter().map(|event| event.line(args.format.into()) + "\n");
        print(&lines.collect::<String>())?;
        return Ok(());
    }
    let answer = match control::ask(&socket, &Request::Status) {
        Ok(answer) => answer,
        Err(refused @ ControlError::Refused(_)) => return Err(refused.into()),
        Err(error) => return nobody_answers(error, &socket, &bpffs, args.format),
    };
    match args.format {
        Format::Json => print(&answer)?,
        Format::Text => print(&status::text(&serde_json::from_str(&answer)?))?,
    }
    Ok(())
}

/// Tells what holds without a daemon; that none answers is an error all the same.
fn nobody_answers(
    error: ControlError,
    socket: &Path,
    bpffs: &Path,
    format: Format,
) -> anyhow::Result<()> {
    let directory = bpffs.display();
    match Life::read(bpffs) {
        Ok(Some(life)) => {
            let text = match format {
                Format::Text => text(&life, socket),
                Format::Json => {
                    let Life { epoch, silent, interfaces } = life;
                    let heartbeat_age_s = silent.map(|silent| silent.as_secs_f64());
                    let silence = Silence { daemon: None, epoch, heartbeat_age_s, interfaces };
                    serde_json::to_string(&silence)? + "\n"
                }
            };
            print(&text)?;
            Err(error.into())
        }
        Ok(None) => {
            Err(anyhow::Error::from(error).context(format!("nothing is attached by {directory}")))
        }
        Err(why) => Err(anyhow::Error::from(error)
            .context(format!("cannot tell what is in force in {directory}: {why}"))),
    }
}

fn text(life: &Life, socket: &Path) -> String {
    if let Some(silent) = life.silent.filter(|silent| *silent < ALIVE) {
        let (silent, socket) = (silent.as_secs_f64(), socket.display());
        return format!(
            "a daemon lives, but does not answer at {socket}: its last sign of life was {silent:.1} s \
             ago\nname its socket with --socket, or its configuration with --config; if it ended \
             just now, ask again\n"
        );
    }
    let sign = match life.silent {
        Some(silent) => format!("its last sign of life was {:.1} s ago", silent.as_secs_f64()),
        None => "there never was a sign of life".to_owned(),
    };
    let holds = match (life.epoch, life.interfaces) {
        (_, 0) => "the program is attached to no interface".to_owned(),
        (0, _) => "there is no plan yet, all packets pass".to_owned(),
        (epoch, interfaces) => {
            let s = if interfaces == 1 { "" } else { "s" };
            format!(
                "epoch {epoch} holds on {interfaces} interface{s}: packets go on by the last plan, \
                 and no change of nodes is noticed"
            )
        }
    };
    format!("no daemon answers; {sign}\n{holds}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_without_a_daemon() {
        let life = Life { epoch: 7, silent: Some(Duration::from_millis(12_340)), interfaces: 2 };
        let cases = [
            (
                life,
                "no daemon answers; its last sign of life was 12.3 s ago\nepoch 7 holds on 2 \
                 interfaces: packets go on by the last plan, and no change of nodes is noticed\n",
            ),
            (
                Life { epoch: 0, silent: None, interfaces: 1 },
                "no daemon answers; there never was a sign of life\nthere is no plan yet, all \
                 packets pass\n",
            ),
            (
                Life { interfaces: 0, ..life },
                "no daemon answers; its last sign of life was 12.3 s ago\nthe program is attached \
                 to no interface\n",
            ),
            (
                Life { silent: Some(ALIVE), ..life },
                "no daemon answers; its last sign of life was 2.0 s ago\nepoch 7 holds on 2 \
                 interfaces: packets go on by the last plan, and no change of nodes is noticed\n",
            ),
            (
                Life { silent: Some(Duration::from_millis(300)), ..life },
                "a daemon lives, but does not answer at /run/x.sock: its last sign of life was 0.3 s \
                 ago\nname its socket with --socket, or its configuration with --config; if it \
                 ended just now, ask again\n",
            ),
        ];
        for (life, expected) in cases {
            assert_eq!(text(&life, Path::new("/run/x.sock")), expected);
        }
    }
}
