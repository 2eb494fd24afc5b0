//! The configuration changes under connections.

use anyhow::{Result, ensure};

use super::scene::Scene;
use crate::{
    configuration::{Configuration, service},
    suites::ward::{node, until_in_plan},
};

pub(super) fn weight_change() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.reload(|configuration| {
        configuration.weights = [("a1", 5), ("a2", 0), ("b3", 2)].map(|(n, w)| (node(n), w)).into();
    })?;
    until_in_plan(&mut scene.site, node("a2"), false)?;
    scene.moved()
}

pub(super) fn node_added() -> Result<()> {
    let without = vec![node("a2"), node("b3")];
    let mut scene = Scene::over(Configuration { without, ..Default::default() })?;
    scene.reload(|configuration| configuration.without.clear())?;
    for name in ["a2", "b3"] {
        until_in_plan(&mut scene.site, node(name), true)?;
    }
    scene.moved()
}

/// Others take the ids of removed nodes only when nobody is on them any more: here a node comes while
/// another one goes, and the removed ones come back.
pub(super) fn node_removed() -> Result<()> {
    let without = vec![node("b3")];
    let mut scene = Scene::over(Configuration { without, ..Default::default() })?;
    scene.reload(|configuration| configuration.without = vec![node("a1"), node("b2")])?;
    until_in_plan(&mut scene.site, node("a1"), false)?;
    until_in_plan(&mut scene.site, node("b3"), true)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    scene.judge()?;
    scene.reload(|configuration| configuration.without.clear())?;
    until_in_plan(&mut scene.site, node("a1"), true)?;
    scene.moved()
}

pub(super) fn service_added() -> Result<()> {
    let mut scene = Scene::open()?;
    scene.reload(|configuration| configuration.services = service("another", 81))?;
    scene.site.until("the new service is there", |known| {
        let services = &known.status.as_ref()?.services;
        services.iter().any(|service| service.name == "another").then_some(())
    })?;
    scene.undisturbed()
}

pub(super) fn two_hundred() -> Result<()> {
    let mut scene = Scene::open()?;
    let before = scene.site.status()?.epoch;
    for number in 0..200_u32 {
        scene.reload(|configuration| {
            let weights = [("a1", 1 + number % 3), ("a2", 2 - number % 2), ("s1", 1 + number % 2)];
            configuration.weights = weights.map(|(name, weight)| (node(name), weight)).into();
        })?;
    }
    scene.site.catch_up()?;
    let epochs = scene.site.status()?.epoch - before;
    ensure!(epochs > 20, "{epochs} new plans after 200 reloads");
    scene.moved()
}
