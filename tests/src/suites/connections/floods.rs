//! Floods while pins are made.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_common::PinState;

use super::scene::{Scene, counter};
use crate::{
    clock::Moment,
    configuration::Configuration,
    flood::{Flood, Kind},
    suites::ward::PATIENCE,
};

/// Packets a second, each of another connection. A node is drained, of six: so a sixth of them is in
/// slots that moved, and is to be pinned.
const RATE: u32 = 10_000;
/// Few enough pins that the openings of one window would take them all.
const FEW: usize = 4096;

/// Openings of which nothing comes take two places of four at most.
pub(super) fn syn() -> Result<()> {
    let lb = format!("pins = {FEW}\n");
    let mut scene = Scene::over(Configuration { lb, ..Default::default() })?;
    under(&mut scene, Kind::Syn, |scene| {
        let deadline = Moment::now().after(PATIENCE);
        while counter("pin_refused")? < 100 {
            ensure!(Moment::now() < deadline, "there is room for all of them");
            scene.site.wait(Duration::from_millis(20))?;
        }
        let half = scene.pins()?.iter().filter(|pin| pin.state == PinState::Half).count();
        ensure!(half > FEW / 4 && half <= FEW / 2, "{half} of {FEW} pins are of openings");
        Ok(())
    })?;
    scene.moved()
}

/// Packets of connections that nobody opened are taken for old ones, and pinned, where there is room.
pub(super) fn ack() -> Result<()> {
    let mut scene = Scene::open()?;
    under(&mut scene, Kind::Ack, |_| Ok(()))?;
    scene.moved()
}

/// Drains a node, and floods for as long as its window is open.
fn under(
    scene: &mut Scene,
    kind: Kind,
    meanwhile: impl FnOnce(&mut Scene) -> Result<()>,
) -> Result<()> {
    scene.order("drain", "A/a1")?;
    let before = counter("pin_made")?;
    let flood = Flood::start(&scene.site.topology, kind, RATE)?;
    meanwhile(scene)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    let (sent, made) = (flood.end()?, counter("pin_made")? - before);
    ensure!(sent > 10_000 && made > sent / 12, "{made} pins for {sent} packets of strangers");
    Ok(())
}
