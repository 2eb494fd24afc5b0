//! `understudy agent`: answers the survey on a node, in the foreground.

use std::{
    fs,
    io::{self, Read},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{Receiver, channel},
};
use tracing::{info, warn};

use super::{run::log_to_stderr, told};
use crate::{
    agent::{Agent, Order},
    config::{self, SurveyKey},
};

#[derive(clap::Args)]
#[command(after_help = "\
SIGUSR1 drains: all servers are non-survival. SIGUSR2 ends that. SIGTERM and SIGINT: says
non-survival to all load balancers, goes on answering for the time of --linger, and ends.")]
pub(super) struct Args {
    /// Which servers this host has, and how each is checked.
    #[arg(long, value_name = "FILE", default_value = "/etc/understudy/agent.toml")]
    config: PathBuf,
    /// The key, in hex: what load balancers have as `survey_key`.
    #[arg(long, value_name = "FILE", default_value = "/etc/understudy/survey.key")]
    key_file: PathBuf,
    /// Where questions come to, repeatable. [default: 0.0.0.0:7411 and [::]:7411]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// How long to answer after the end was announced.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    linger: Duration,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let config = told(&args.config, config::agent::load(&args.config), "")?;
    log_to_stderr();
    let key = key(&args.key_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything is answered: from here on no signal ends this without a word.
        let orders = orders()?;
        let agent = Agent::bind(config, &key, &args.listen)?;
        let addresses = agent.addresses()?;
        info!(
            "answers at {}",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        agent.run(orders, args.linger).await;
        Ok(())
    })
}

fn key(file: &Path) -> anyhow::Result<SurveyKey> {
    let (text, mode) =
        read(file).with_context(|| format!("cannot read the key in {}", file.display()))?;
    if mode & 0o004 != 0 {
        warn!("everybody on this host can read the key: chmod o= {}", file.display());
    }
    config::agent::key(&text).map_err(|fault| anyhow!("{}: {fault}", file.display()))
}

/// A file's text and permissions.
fn read(file: &Path) -> io::Result<(String, u32)> {
    let mut file = fs::File::open(file)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, file.metadata()?.permissions().mode()))
}

/// Signals as orders.
fn orders() -> anyhow::Result<Receiver<Order>> {
    let (sender, receiver) = channel(1);
    for (kind, order) in [
        (SignalKind::terminate(), Order::End),
        (SignalKind::interrupt(), Order::End),
        (SignalKind::user_defined1(), Order::Drain),
        (SignalKind::user_defined2(), Order::Undrain),
    ] {
        let mut signals = signal(kind).context("cannot wait for signals")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && sender.send(order).await.is_ok() {}
        });
    }
    Ok(receiver)
}
