//! The daemon ends, by force or not, and another one goes on.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{
    clock::Moment,
    suites::ward::{events, node, until_in_plan},
};

/// Killed within a window, when connections are both where their slot is and where it was.
pub(super) fn kill_9() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.order("drain", "A/a1")?;
    scene.site.kill_daemon()?;
    scene.all_are_heard()?;
    scene.site.start_daemon()?;
    // What an operator ordered outlives the daemon.
    until_in_plan(&mut scene.site, node("a1"), false)?;
    scene.moved()
}

/// What a daemon wrote down of its plan is lost with it. The next one says so, and makes the same plan
/// anew; the one after that goes on as ever.
pub(super) fn plan_lost() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.site.kill_daemon()?;
    scene.site.lose_plan()?;
    scene.all_are_heard()?;
    let from = Moment::now();
    scene.site.start_daemon()?;
    scene.site.catch_up()?;
    let lost = events(&scene.site, "plan_lost", from);
    let said = lost.iter().any(|text| text.contains("cannot read its file"));
    ensure!(said, "it says of the lost file only {lost:?}");
    ensure!(scene.site.log().contains("cannot read its file"), "its log does not say so");
    scene.all_are_heard()?;
    scene.site.kill_daemon()?;
    scene.site.start_daemon()?;
    scene.site.catch_up()?;
    let resumed = events(&scene.site, "resumed", from);
    ensure!(resumed.len() == 1, "{} daemons say that they go on: {resumed:?}", resumed.len());
    scene.undisturbed()
}

pub(super) fn stop_and_start() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.site.stop_daemon()?;
    scene.all_are_heard()?;
    scene.site.start_daemon()?;
    scene.undisturbed()
}

pub(super) fn start_with_changes() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.site.stop_daemon()?;
    scene.site.configure(|configuration| {
        configuration.without = vec![node("b3")];
        configuration.weights = [("a2", 5), ("b2", 3)].map(|(n, w)| (node(n), w)).into();
    })?;
    scene.all_are_heard()?;
    scene.site.start_daemon()?;
    until_in_plan(&mut scene.site, node("b3"), false)?;
    scene.moved()
}

/// Another program takes over from the one that is killed: what is attached stays attached, and is
/// replaced in place.
pub(super) fn upgrade() -> Result<()> {
    const IN_PLACE: &str = "its program was replaced in place";
    let mut scene = Scene::open()?;
    ensure!(!scene.site.log().contains(IN_PLACE), "replaced before the upgrade");
    scene.site.install()?;
    scene.site.stop_daemon()?;
    scene.site.start_daemon()?;
    ensure!(scene.site.log().contains(IN_PLACE), "not replaced: {}", scene.site.daemon_words());
    scene.undisturbed()
}

pub(super) fn second() -> Result<()> {
    let mut scene = Scene::open()?;
    let said = scene.site.second_daemon()?;
    ensure!(said.contains("another"), "it does not say why it refuses: {said}");
    scene.site.catch_up()?;
    scene.undisturbed()
}
