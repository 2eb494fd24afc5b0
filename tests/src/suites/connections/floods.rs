//! Floods while pins are made.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{
    configuration::Configuration,
    flood::{Flood, Kind},
};

/// Packets a second: in a window of 4 s ten times as many connections as there are pins.
const RATE: u32 = 10_000;

/// Openings of which nothing comes take two places of four at most. A node is drained, of six: so a
/// sixth of them gets pins, of which there are 4,096.
pub(super) fn syn() -> Result<()> {
    let lb = "pins = 4096\n".to_owned();
    under(Kind::Syn, Configuration { lb, ..Default::default() })
}

/// Packets of connections that nobody opened are taken for old ones, and pinned: as many as there are
/// places. Connections that were pinned before them stay.
pub(super) fn ack() -> Result<()> {
    under(Kind::Ack, Configuration::default())
}

fn under(kind: Kind, configuration: Configuration) -> Result<()> {
    let mut scene = Scene::over(configuration)?;
    scene.order("drain", "A/a1")?;
    let flood = Flood::start(&scene.site.topology, kind, RATE)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    let sent = flood.end()?;
    ensure!(sent > 10_000, "only {sent} packets were sent");
    scene.moved()
}
