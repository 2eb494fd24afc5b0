//! The daemon ends, by force or not, and another one goes on.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::suites::ward::{node, until_in_plan};

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
