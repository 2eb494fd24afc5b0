//! The plan for people: what each cluster and node gets, beside what it had, and what moves.

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};

use super::{Cluster, Service, Sides, health, service_of};
use crate::decide::{
    Decision, Model, Regime, Seat,
    reason::{explain_node, explain_regime},
    share::{Shares, health_of, shares, table_id},
};

/// A line under the header, and nothing else.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// All services.
pub(super) fn render(sides: &Sides<'_>) -> String {
    let services = 0..sides.model.config.services.len();
    services.map(|service| service_text(sides, service)).collect::<Vec<_>>().join("\n")
}

fn service_text(sides: &Sides<'_>, service: usize) -> String {
    let config = &sides.model.config.services[service];
    let is = service_of(sides, service);
    let was = shares(sides.model, sides.before, service);
    let (protocol, mode) = (config.protocol.name(), is.mode);
    let mut text =
        format!("service {} {}/{protocol}, backup {mode}\n", config.name, config.destination());
    let regime = sides.after.services[service].regime;
    if regime != Regime::Normal {
        text.push_str(&format!("{}\n", explain_regime(regime)));
    }
    text.push_str(&format!("\n{}\n\n", clusters(sides, service, &is, &was).trim_fmt()));
    text.push_str(&format!("{}\n\n", nodes(sides, service, &is, &was).trim_fmt()));
    text.push_str(&format!("dropped  {}\n", change(was.dropped, is.dropped, percent)));
    let (moved, extra) = (percent(is.moved), percent(is.moved_extra));
    text.push_str(&format!("moved    {moved}, more than must: {extra}\n"));
    for (way, part) in ways(sides, service) {
        text.push_str(&format!("         {:>7} {way}\n", percent(part)));
    }
    text.push_str(&format!("slots    {}\n", sizes(sides.model, sides.after, service)));
    text
}

fn clusters(sides: &Sides<'_>, service: usize, is: &Service<'_>, was: &Shares) -> Table {
    let columns =
        ["cluster", "role", "health", "alive", "needed", "total", "home", "before", "share", "why"];
    let mut table = table(&columns, 3..9);
    for (seat, cluster) in is.clusters.iter().enumerate() {
        let place = sides.model.seats(service)[seat].pool;
        let Cluster { alive, needed, total, .. } = cluster;
        table.add_row([
            cluster.name.to_owned(),
            cluster.role.to_owned(),
            change(health(sides.before, place), cluster.health, str::to_owned),
            alive.to_string(),
            needed.to_string(),
            total.to_string(),
            percent(cluster.home),
            percent(was.seats[seat].fraction()),
            percent(cluster.share),
            cluster.reason.clone(),
        ]);
    }
    table
}

fn nodes(sides: &Sides<'_>, service: usize, is: &Service<'_>, was: &Shares) -> Table {
    let mut table = table(&["cluster", "node", "state", "before", "share"], 3..5);
    for (node, (id, was)) in is.nodes.iter().zip(&was.nodes) {
        let before = health_of(sides.model, sides.before, service, *id);
        table.add_row([
            node.cluster.to_owned(),
            node.name.to_owned(),
            change(explain_node(before), node.state, str::to_owned),
            percent(was.fraction()),
            percent(node.share),
        ]);
    }
    table
}

/// From which cluster to which flows move, or that they move within one; parts of all flows.
fn ways(sides: &Sides<'_>, service: usize) -> Vec<(String, f64)> {
    let model = sides.model;
    let seats = model.seats(service);
    let [old, new] = [sides.before, sides.after].map(|d| &d.services[service].deal);
    let all = old.owners.len() as f64;
    let mut slots = vec![vec![0u32; seats.len() + 1]; seats.len() + 1];
    for (&old, &new) in old.owners.iter().zip(&new.owners) {
        slots[usize::from(old).min(seats.len())][usize::from(new).min(seats.len())] += 1;
    }
    let name = |seat: usize| {
        let cluster = seats.get(seat).map(|seat| &model.config.clusters[seat.cluster]);
        cluster.map_or("nobody", |cluster| cluster.name.as_str())
    };
    let mut ways = Vec::new();
    for (from, row) in slots.iter().enumerate() {
        for (to, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
            let part = f64::from(count) / all;
            if from != to {
                ways.push((format!("from {} to {}", name(from), name(to)), part));
            } else if let Some(seat) = seats.get(from) {
                let within = part * between_nodes(sides, service, seat);
                ways.extend((within > 0.0).then(|| (format!("within {}", name(from)), within)));
            }
        }
    }
    ways
}

/// The part of a seat's flows that gets another node.
fn between_nodes(sides: &Sides<'_>, service: usize, seat: &Seat) -> f64 {
    let [old, new] = [sides.before, sides.after].map(|decision| {
        let id = table_id(sides.model, &decision.services[service], seat);
        &decision.clusters[id].slots
    });
    let other = old.iter().zip(new.iter()).filter(|(old, new)| old != new).count();
    other as f64 / old.len() as f64
}

/// The number of slots of each table of a service.
fn sizes(model: &Model, decision: &Decision, service: usize) -> String {
    let own = decision.services[service].deal.slots.len();
    let clusters = model.seats(service).iter().map(|seat| {
        let slots = decision.clusters[seat.pool].slots.len();
        format!(", {} {slots}", model.config.clusters[seat.cluster].name)
    });
    format!("{own}{}", clusters.collect::<String>())
}

/// A table whose columns in `numbers` are set flush right.
fn table(header: &[&str], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header.to_vec());
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What is, or what was and what is.
fn change<T: PartialEq>(was: T, is: T, show: impl Fn(T) -> String) -> String {
    if was == is { show(is) } else { format!("{} → {}", show(was), show(is)) }
}

fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}
