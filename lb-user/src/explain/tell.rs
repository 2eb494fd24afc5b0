//! Tells the steps of one flow: who was asked, who serves it, and why not the others.

use lb_common::{Forward, NodeId, PinState, SlotState};
use lb_ebpf::{
    Verdict,
    select::{By, Choice, Member},
};

use super::{Answer, Flow, Step};
use crate::{
    config::{Affinity, Ports},
    decide::{
        Decision, View,
        flow::FlowPath,
        reason::{explain_node, explain_seat},
        share::health_of,
    },
};

/// How many names a step lists.
const LISTED: usize = 8;

/// What is known of one flow of a service, and where it is written down.
pub(super) struct Teller<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) decision: &'a Decision,
    pub(super) service: usize,
    /// The way that the decision gives it.
    pub(super) path: &'a FlowPath,
    pub(super) flow: &'a Flow,
    pub(super) answer: &'a mut Answer,
}

const fn state_name(state: SlotState) -> &'static str {
    match state {
        SlotState::Clean => "clean",
        SlotState::Drain => "drain",
        SlotState::Residue => "residue",
    }
}

/// Of two slots the state that packets go by.
fn settled_least(states: [SlotState; 2]) -> &'static str {
    let order = [SlotState::Drain, SlotState::Residue];
    let least = order.into_iter().find(|state| states.contains(state));
    state_name(least.unwrap_or(SlotState::Clean))
}

impl<'a> Teller<'a> {
    /// Writes down what was chosen, and why.
    pub(super) fn tell(&mut self, choice: &Result<Choice, Verdict>) {
        self.chosen(choice);
        let (table, node) = (self.path.table, self.path.node);
        let agrees = match choice {
            Ok(chosen) => {
                let ids = &self.view.model.ids;
                let own =
                    chosen.own.and_then(|own| ids.table_at(own.cluster).zip(ids.node_at(own.node)));
                table.zip(node) == own
            }
            Err(_) => node.is_none(),
        };
        if !agrees {
            self.result("a newer plan has been decided and is not in force".to_owned());
            return;
        }
        self.clusters();
        if let (Some(cluster), Some(slot)) = (self.carrier(), self.path.node_slot) {
            self.nodes(cluster, slot, choice.map_or(0, |chosen| chosen.port));
        }
        if let Ok(choice) = choice {
            self.moved(choice);
        }
    }

    /// Adds how it ends.
    pub(super) fn result(&mut self, text: String) {
        self.because(&text);
        self.step("result", text);
    }

    /// Names and slots.
    fn chosen(&mut self, choice: &Result<Choice, Verdict>) {
        let model = self.view.model;
        let slot = choice.map_or(self.path.slot, |chosen| chosen.service_slot);
        let home = model.service_order(self.service).home().get(slot as usize);
        let seats = model.seats(self.service);
        let home = home.and_then(|&seat| seats.get(usize::from(seat)));
        let table = choice.ok().and_then(|chosen| model.ids.table_at(chosen.to.cluster));
        let carrier = table.and_then(|table| model.cluster_of(table));
        let node = choice.ok().and_then(|chosen| model.ids.node_at(chosen.to.node));
        let explained = &mut self.answer.explained;
        explained.service = Some(model.config.services[self.service].name.clone());
        explained.slot = Some(slot);
        explained.home = home.map(|seat| model.config.clusters[seat.cluster].name.clone());
        explained.carrier = carrier.map(|cluster| model.config.clusters[cluster].name.clone());
        explained.node_slot = choice.ok().map(|chosen| chosen.node_slot);
        explained.node = node.map(|node| model.node(node).name.clone());
    }

    /// What the slots went through, who had them before, and the connection's pin.
    fn moved(&mut self, choice: &Choice) {
        let state = settled_least(choice.states);
        self.answer.explained.state = Some(state.to_owned());
        if choice.states == [SlotState::Clean; 2] {
            return;
        }
        let [service, node] = choice.states.map(state_name);
        self.step("state", format!("{service}, in the cluster's table {node}"));
        if let Some(base) = choice.base {
            let (name, is) = (self.member_name(base), self.up_name(base.node));
            self.step("base", format!("{name}: had these slots before, {is}"));
            self.answer.explained.base = Some(name);
        }
        if let Some(pin) = choice.pin {
            let name = self.member_name(Member { cluster: pin.cluster, node: pin.node });
            let is = match pin.state {
                PinState::Half => "only opened",
                PinState::Live => "open",
                PinState::Closing => "closing",
            };
            self.step("pin", format!("{name}: {is}, {}", self.up_name(pin.node)));
            self.answer.explained.pin = Some(name);
        }
        match choice.by {
            By::Own => {}
            By::Base => self.because("its slots moved: without a pin, it stays where they were"),
            By::Pin => self.because("its slots moved: it is pinned"),
        }
        if choice.by != By::Own {
            let name = self.member_name(choice.to);
            self.result(format!("to {name}"));
        }
    }

    fn up_name(&self, node: NodeId) -> &'static str {
        let nodes = self.view.published.map(|intent| &intent.nodes);
        match nodes.and_then(|nodes| nodes.get(node.index())) {
            Some(record) if record.up == 1 => "its node keeps connections",
            _ => "its node keeps no connections",
        }
    }

    /// `CLUSTER/NODE`.
    fn member_name(&self, member: Member) -> String {
        let model = self.view.model;
        let table = model.ids.table_at(member.cluster);
        let cluster = table.and_then(|table| model.cluster_of(table));
        match cluster.zip(model.ids.node_at(member.node)) {
            Some((cluster, node)) => {
                format!("{}/{}", model.config.clusters[cluster].name, model.node(node).name)
            }
            None => format!("node {}, which has gone", member.node.index()),
        }
    }

    /// The service's slot: who was asked for it, who serves it, who was not asked.
    fn clusters(&mut self) {
        let (model, decision, service) = (self.view.model, self.decision, self.service);
        let slots = decision.services[service].deal.slots.len();
        let config = &model.config.services[service];
        let on = match config.ports {
            Ports::One(_) => String::new(),
            Ports::Range { .. } => format!(" on ports {}", config.ports),
            Ports::All => " on all ports".to_owned(),
        };
        let by = match config.affinity {
            Affinity::Flow => "",
            Affinity::Source => " by its source address alone",
        };
        let slot = self.path.slot;
        self.step("service", format!("{}{on}, slot {slot} of {slots}{by}", config.name));
        if !by.is_empty() {
            self.because("flows of one source address have one node");
        }
        let mut asked: Vec<usize> = self.path.passed.iter().map(|&(seat, _)| seat).collect();
        asked.extend(self.path.carrier);
        for (turn, &seat) in asked.iter().enumerate() {
            let (name, why) = (self.seat_name(seat), explain_seat(model, decision, service, seat));
            let serves = self.path.carrier == Some(seat);
            let what = match (turn, serves) {
                (0, _) => "home",
                (_, true) => "carrier",
                (_, false) => "asked",
            };
            self.step(what, format!("{name}: {why}"));
            let home = if turn == 0 { "home " } else { "" };
            let does = if serves { "serves it" } else { "does not serve it" };
            self.because(&format!("{home}{name} {does} ({why})"));
        }
        for seat in (0..model.seats(service).len()).filter(|seat| !asked.contains(seat)) {
            let (name, why) = (self.seat_name(seat), explain_seat(model, decision, service, seat));
            self.step("not asked", format!("{name}: {why}"));
        }
    }

    /// The carrier's slot: the same for its nodes. `port`: the one that `nat` gives the flow's packets.
    fn nodes(&mut self, cluster: usize, slot: u32, port: u16) {
        let (model, decision) = (self.view.model, self.decision);
        let config = &model.config.clusters[cluster];
        let slots = 1u64 << model.cluster_order(cluster).log2();
        self.step("nodes", format!("of {}, slot {slot} of {slots}", config.name));
        for &(node, health) in &self.path.nodes_passed {
            let (name, is) = (&model.node(node).name, explain_node(health));
            self.step("asked", format!("{name}: {is}"));
            self.because(&format!("node {name} does not ({is})"));
        }
        if let Some(node) = self.path.node {
            let is = explain_node(health_of(model, decision, self.service, node));
            let name = &model.node(node).name;
            let on = match self.rewritten(node, port) {
                Some(port) => format!(" port {port}"),
                None => String::new(),
            };
            self.step("node", format!("{name}: {is}, at {}{on}", model.node(node).address));
            let on = if on.is_empty() { on } else { format!(" on{on}") };
            self.because(&format!("node {name} serves it{on}"));
            if let Err(why) = self.view.way(node) {
                self.result(format!("dropped: {}", why.explain()));
            }
        }
        let asked: Vec<usize> = self.path.nodes_passed.iter().map(|&(node, _)| node).collect();
        let rest = |of_use: bool| -> Vec<&str> {
            let not = |node: &usize| !asked.contains(node) && self.path.node != Some(*node);
            let nodes = model.nodes_of(cluster).filter(not).map(|node| model.node(node));
            let nodes = nodes.filter(|node| (node.weight > 0) == of_use);
            nodes.map(|node| node.name.as_str()).collect()
        };
        let (behind, useless) = (rest(true), rest(false));
        for (names, why) in [(behind, "behind it in the order of this slot"), (useless, "weight 0")]
        {
            if !names.is_empty() {
                let more = if names.len() > LISTED { ", …" } else { "" };
                let names = names[..names.len().min(LISTED)].join(", ");
                self.step("not asked", format!("{names}{more}: {why}"));
            }
        }
    }

    /// The port that the flow's packets get on their way to a node, where they get one.
    fn rewritten(&self, node: usize, port: u16) -> Option<u16> {
        let model = self.view.model;
        let cluster = &model.config.clusters[model.nodes[node].cluster];
        let port = if port == 0 { model.node(node).port } else { Some(port) };
        (cluster.forward == Forward::Nat).then(|| port.unwrap_or(self.flow.destination().port()))
    }

    fn carrier(&self) -> Option<usize> {
        Some(self.view.model.seats(self.service)[self.path.carrier?].cluster)
    }

    fn seat_name(&self, seat: usize) -> &'a str {
        &self.view.model.config.clusters[self.view.model.seats(self.service)[seat].cluster].name
    }

    fn step(&mut self, what: &str, text: String) {
        self.answer.steps.push(Step { what: what.to_owned(), text });
    }

    fn because(&mut self, text: &str) {
        let reason = &mut self.answer.explained.reason;
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(text);
    }
}
