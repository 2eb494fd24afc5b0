//! Nodes and clusters die and come back. Who is on another node does not notice, wherever the slots go.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{suites::ward::node, topology::NodeIndex};

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

fn fail_cluster(scene: &mut Scene) -> Result<()> {
    for name in ["a1", "a2"] {
        scene.site.topology.set_link(node(name), false)?;
    }
    scene.serves("A", false)?;
    scene.serves("S", true)
}

fn cluster_is_back(scene: &mut Scene) -> Result<()> {
    for name in ["a1", "a2"] {
        scene.site.topology.set_link(node(name), true)?;
    }
    scene.serves("A", true)?;
    scene.serves("S", false)
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
