//! What an operator does with nodes: new flows leave at once, old ones end in their own time; unless
//! he wants their end at the limit.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{clock::Moment, configuration::Configuration, load::Held};

pub(super) fn drain_cluster() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.site.command(&["drain", "A"])?;
    scene.serves("A", false)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    scene.site.command(&["undrain", "A"])?;
    scene.serves("A", true)?;
    scene.moved()
}

/// Few words on each, but many of them: as many as fit into the usual limits of open files, both ends
/// being here.
pub(super) fn drain_eight_thousand() -> Result<()> {
    let (period, drain) = (Duration::from_millis(2500), Duration::from_secs(6));
    let patience = Duration::from_secs(8);
    let mut scene = Scene::of(Held { number: 8_000, period, mixed: false, patience }, drain)?;
    scene.order("drain", "A/a1")?;
    scene.moved()
}

/// Taken back once inside the window, once behind it.
pub(super) fn drain_and_undrain() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.order("drain", "A/a1")?;
    scene.order("undrain", "A/a1")?;
    scene.windows_close()?;
    scene.order("drain", "B/b2")?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    scene.order("undrain", "B/b2")?;
    scene.moved()
}

pub(super) fn maintain() -> Result<()> {
    let mut scene = Scene::open()?;
    let began = Moment::now();
    scene.order("maintain", "A/a1")?;
    scene.cut_at_the_limit(began)
}

/// The end of a drain, by force.
pub(super) fn drain_hard() -> Result<()> {
    let cluster = "drain_hard = true\n".to_owned();
    let mut scene = Scene::over(Configuration { cluster, ..Default::default() })?;
    let began = Moment::now();
    scene.order("drain", "A/a1")?;
    scene.cut_at_the_limit(began)
}

/// When all that a change made ambiguous has ended, nothing of it is left: no pin, and nobody looks
/// for one. Only then is the node told to be free.
pub(super) fn steady_again() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.order("drain", "A/a1")?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    scene.judge()?;
    let pins = scene.pins()?.len();
    ensure!(pins > 100, "only {pins} pins hold the connections on a1");
    scene.going("a1", |going| !going.done && going.flows > Some(100))?;
    scene.fall_silent()?;
    scene.going("a1", |going| going.done)?;
    scene.all_are_heard()?;
    scene.steady()?;
    scene.undisturbed()
}
