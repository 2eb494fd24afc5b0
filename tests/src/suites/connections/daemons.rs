//! The daemon ends, by force or not, and another one goes on.

use anyhow::{Context, Result, bail, ensure};
use aya::programs::links::{FdLink, PinnedLink};

use super::scene::Scene;
use crate::{
    clock::Moment,
    owner::Owner,
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

/// Another program takes over from the one that ends: what is attached stays attached, and is replaced
/// in place. Before that, a daemon beside the running one is refused.
pub(super) fn second_daemon_stop_and_upgrade() -> Result<()> {
    let mut scene = Scene::open()?;
    let said = scene.site.second_daemon()?;
    ensure!(said.contains("another"), "it does not say why it refuses: {said}");
    scene.site.catch_up()?;
    let [before] = links()?[..] else { bail!("not one link: {:?}", links()?) };
    scene.site.install()?;
    scene.site.stop_daemon()?;
    scene.all_are_heard()?;
    ensure!(links()? == [before], "{:?} are not what was there, {before:?}", links()?);
    scene.site.start_daemon()?;
    let [after] = links()?[..] else { bail!("not one link: {:?}", links()?) };
    ensure!(after.0 == before.0 && after.1 != before.1, "link, program {before:?}, now {after:?}");
    scene.undisturbed()
}

/// The links that hold the program on interfaces: the number of each, and of its program.
fn links() -> Result<Vec<(u32, u32)>> {
    let entries = Owner::this().bpffs().read_dir().context("the directory of pins")?;
    let mut links = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link-")) {
            let link: FdLink = PinnedLink::from_pin(&path).context("a pinned link")?.into();
            let info = link.info().context("a link's description")?;
            links.push((info.id(), info.program_id()));
        }
    }
    Ok(links)
}
