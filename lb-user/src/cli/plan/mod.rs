//! `understudy plan`: who would carry what while some nodes are down, and what moves.
//!
//! Every figure is counted from the slots of the tables that a daemon would put in force.

mod text;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use serde::Serialize;

use super::{
    Format, load, print,
    whatif::{self, BeforeDown, Down},
};
use crate::decide::{
    Decision, Model, Regime, Role, State, reason,
    share::{Shares, health_of, moved, shares},
};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    file: PathBuf,
    #[command(flatten)]
    down: Down,
    #[command(flatten)]
    before: BeforeDown,
    /// For people or for machines.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let model = Arc::new(Model::new(Arc::new(load(&args.file)?)));
    let (now, then) = (args.down.nodes(&model)?, args.before.nodes(&model)?);
    let after = whatif::suppose(&model, &now)?;
    let before = whatif::suppose(&model, &then)?;
    // Tables that do not depend on the secret must fit the maps with any.
    whatif::commit(&after, &[0; 16]).context("this plan cannot be put in force")?;
    let sides = Sides { model: &model, before: decision(&before)?, after: decision(&after)? };
    match args.format {
        Format::Json => print(&format!("{}\n", serde_json::to_string(&document(&sides))?))?,
        Format::Text => print(&text::render(&sides))?,
    }
    Ok(())
}

fn decision(state: &State) -> anyhow::Result<&Decision> {
    state.view().decision.context("no plan was made, which is a defect of understudy")
}

/// What is compared.
struct Sides<'a> {
    model: &'a Model,
    before: &'a Decision,
    after: &'a Decision,
}

/// The document for machines; parts are fractions of a service's flows.
#[derive(Serialize)]
struct Plan<'a> {
    services: Vec<Service<'a>>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    mode: &'static str,
    panic: bool,
    dropped: f64,
    clusters: Vec<Cluster<'a>>,
    nodes: Vec<Node<'a>>,
    moved: f64,
    moved_extra: f64,
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    role: &'static str,
    health: &'static str,
    alive: u32,
    total: u32,
    needed: u32,
    home: f64,
    share: f64,
    reason: String,
}

#[derive(Serialize)]
struct Node<'a> {
    cluster: &'a str,
    name: &'a str,
    state: &'static str,
    share: f64,
}

fn document<'a>(sides: &Sides<'a>) -> Plan<'a> {
    let services = 0..sides.model.config.services.len();
    Plan { services: services.map(|service| service_of(sides, service)).collect() }
}

fn service_of<'a>(sides: &Sides<'a>, service: usize) -> Service<'a> {
    let &Sides { model, before, after } = sides;
    let config = &model.config.services[service];
    let shares = shares(model, after, service);
    let moved = moved(model, before, after, service);
    Service {
        name: &config.name,
        mode: config.mode.name(),
        panic: matches!(after.services[service].regime, Regime::Panic(_)),
        dropped: shares.dropped,
        clusters: (0..model.seats(service).len())
            .map(|seat| cluster_of(model, after, service, seat, &shares))
            .collect(),
        nodes: shares
            .nodes
            .iter()
            .map(|&(node, part)| Node {
                cluster: &model.config.clusters[model.nodes[node].cluster].name,
                name: &model.node(node).name,
                state: reason::explain_node(health_of(model, after, service, node)),
                share: part.fraction(),
            })
            .collect(),
        moved: moved.moved.fraction(),
        moved_extra: moved.extra.fraction(),
    }
}

fn cluster_of<'a>(
    model: &'a Model,
    decision: &Decision,
    service: usize,
    seat: usize,
    shares: &Shares,
) -> Cluster<'a> {
    let place = model.seats(service)[seat];
    let cluster = &model.config.clusters[place.cluster];
    let group = decision.groups[place.pool];
    Cluster {
        name: &cluster.name,
        role: match place.role {
            Role::Master => "master",
            Role::Standby => "standby",
        },
        health: health(decision, place.pool),
        alive: group.count.alive,
        total: group.count.total,
        needed: cluster.threshold.needed(group.count.total),
        home: shares.home[seat].fraction(),
        share: shares.seats[seat].fraction(),
        reason: reason::explain_seat(model, decision, service, seat),
    }
}

fn health(decision: &Decision, pool: usize) -> &'static str {
    if decision.groups[pool].healthy { "healthy" } else { "unhealthy" }
}
