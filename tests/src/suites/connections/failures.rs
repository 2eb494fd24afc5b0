//! Nodes and clusters die and come back. Who is on another node does not notice, wherever the slots go.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{configuration::Configuration, suites::ward::node, topology::NodeIndex};

/// Connections that opened while a node was dead stay where they are when it is back.
pub(super) fn node_death_and_return() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.die("a1")?;
    scene.all_are_heard()?;
    // A sixth of them was there.
    let ended = scene.ended_with_their_node();
    ensure!(ended > 100, "only {ended} connections ended with their node");
    scene.bring_back("a1")?;
    scene.moved()
}

/// Two of three nodes of A die, and S takes over, but connections on the third stay there. A takes its
/// slots home within the window of that, but connections on S stay there.
pub(super) fn cluster_flap() -> Result<()> {
    let mut scene = Scene::open()?;
    fail_cluster(&mut scene)?;
    cluster_is_back(&mut scene)?;
    scene.moved()
}

/// The same when the window has closed, and all who were on the dead nodes are open again elsewhere.
pub(super) fn cluster_failure_and_return() -> Result<()> {
    let mut scene = Scene::open()?;
    fail_cluster(&mut scene)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    cluster_is_back(&mut scene)?;
    scene.moved()
}

/// A gets its share back in steps, of whom each leaves connections on S behind that stay there.
pub(super) fn ramp() -> Result<()> {
    let cluster = "ramp = \"3s\"\n".to_owned();
    let mut scene = Scene::over(Configuration { cluster, ..Default::default() })?;
    let whole = scene.share("A")?;
    fail_cluster(&mut scene)?;
    wire_cluster(&mut scene)?;
    let steps = scene.until_share("A", whole)?;
    ensure!(steps.len() >= 10, "its share grew in {} steps: {steps:?}", steps.len());
    let grows = steps.windows(2).all(|two| two[0].1 < two[1].1);
    ensure!(grows, "its share did not only grow: {steps:?}");
    let seen = scene.seen_of("A", steps[0].0, steps[steps.len() - 1].0, 3)?;
    ensure!(seen.windows(2).all(|two| two[0] < two[1]), "of new requests A got {seen:?}");
    scene.moved()
}

fn fail_cluster(scene: &mut Scene) -> Result<()> {
    for name in ["a1", "a2"] {
        scene.site.topology.set_link(node(name), false)?;
    }
    scene.serves("A", false)?;
    scene.serves("S", true)
}

fn cluster_is_back(scene: &mut Scene) -> Result<()> {
    wire_cluster(scene)?;
    scene.serves("A", true)?;
    scene.serves("S", false)
}

fn wire_cluster(scene: &mut Scene) -> Result<()> {
    let mut names = ["a1", "a2"].into_iter();
    names.try_for_each(|name| scene.site.topology.set_link(node(name), true))
}

/// One thing after the other, without waiting for any window.
pub(super) fn overlapping() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.order("drain", "A/a1")?;
    scene.die("b2")?;
    scene.reload(|configuration| {
        let weights = NodeIndex::of_cluster("A").zip([1, 4, 2]);
        configuration.weights = weights.collect();
    })?;
    scene.order("undrain", "A/a1")?;
    scene.order("drain", "B/b1")?;
    scene.bring_back("b2")?;
    scene.site.command(&["drain", "A"])?;
    scene.serves("A", false)?;
    scene.order("undrain", "B/b1")?;
    scene.all_are_heard()?;
    scene.site.command(&["undrain", "A"])?;
    scene.serves("A", true)?;
    scene.moved()
}
