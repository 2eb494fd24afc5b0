//! The configuration changes under connections.

use anyhow::{Result, ensure};

use super::scene::{Scene, counter};
use crate::{
    configuration::{Configuration, service},
    suites::ward::{node, until_in_plan},
    variant::{Forward, Variant},
};

/// Others take the ids of removed nodes only when nobody is on them any more: here a node comes while
/// another one goes, and the removed ones come back.
pub(super) fn nodes_added_and_removed() -> Result<()> {
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

pub(super) fn clusters_added_and_removed() -> Result<()> {
    let mut scene = Scene::over(Configuration { masters: vec!["A"], ..Default::default() })?;
    scene.reload(|configuration| configuration.masters.push("B"))?;
    scene.serves("B", true)?;
    scene.windows_close()?;
    scene.all_are_heard()?;
    scene.reload(|configuration| configuration.masters = vec!["B"])?;
    scene.serves("A", false)?;
    scene.moved()
}

/// Two nodes change their addresses with each other: connections are on machines, whatever their names.
pub(super) fn addresses_change() -> Result<()> {
    let mut scene = Scene::open()?;
    let (one, other) = (node("a1"), node("a2"));
    scene.reload(|configuration| configuration.moved = [(one, other), (other, one)].into())?;
    scene.moved()
}

/// Nodes stay where they are, but get packets in another way.
pub(super) fn mode_changes() -> Result<()> {
    let variant = Variant { forward: Forward::Ipip, ..Variant::default() };
    let mut scene = Scene::over(Configuration { variant, ..Default::default() })?;
    let tunnelled = counter("forward_tx")?;
    scene.reload(|configuration| configuration.variant.forward = Forward::L2)?;
    scene.site.catch_up()?;
    ensure!(counter("forward_tx")? > tunnelled, "nothing is sent any more");
    scene.undisturbed()
}

pub(super) fn service_added_and_removed() -> Result<()> {
    let mut scene = Scene::open()?;
    for services in [service("another", 81), String::new()] {
        let there = !services.is_empty();
        scene.reload(|configuration| configuration.services = services)?;
        scene.site.until(&format!("another service: {there}"), |known| {
            let services = &known.status.as_ref()?.services;
            (services.iter().any(|service| service.name == "another") == there).then_some(())
        })?;
    }
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
