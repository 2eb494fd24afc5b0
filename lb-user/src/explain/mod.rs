//! Why one flow goes where it goes. The way is found by the very stages that packets go through,
//! over the tables in force; the reasons come from the state that made those tables.

mod flow;
mod tell;

use lb_common::Reason;
use lb_ebpf::{Found, Tables, Verdict};
use serde::{Deserialize, Serialize};

pub use flow::{Flow, FlowError};

use crate::{
    dataplane::{memory::Memory, watched::Watched},
    decide::{View, flow::follow},
};
use tell::Teller;

/// Where a flow goes, for machines. What there is not is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `PROTO SRC:PORT DST:PORT`.
    pub flow: String,
    /// Whose flow it is.
    pub service: Option<String>,
    /// Its slot in the service's table.
    pub slot: Option<u32>,
    /// The cluster whose flow it is while all is well.
    pub home: Option<String>,
    /// The cluster that serves it.
    pub carrier: Option<String>,
    /// Its slot in that cluster's table.
    pub node_slot: Option<u32>,
    /// The node that serves it.
    pub node: Option<String>,
    /// What its slots went through: `clean`, `drain` or `residue`, of the two what is less settled.
    pub state: Option<String>,
    /// `CLUSTER/NODE` that had its slots before, while one of them drains.
    pub base: Option<String>,
    /// `CLUSTER/NODE` that its connection is pinned to.
    pub pin: Option<String>,
    /// The epoch of the tables; 0 where no daemon made them.
    pub epoch: u64,
    /// Why.
    pub reason: String,
}

/// The same, with every step for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Where it goes.
    pub explained: Explained,
    /// What was asked, in order.
    pub steps: Vec<Step>,
}

/// One step of a flow's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// In a word.
    pub what: String,
    /// What there is to say.
    pub text: String,
}

/// Whose tables are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those that a configuration gives. They have no epoch and no next hops.
    Config,
    /// Those in force.
    Daemon,
}

/// Which packet of a flow is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The one that opens it.
    Opener,
    /// One of a connection that has been there for a while.
    Established,
}

/// Explains one flow over the tables, which stay as they are, and the state that made them.
pub fn answer(
    view: &View<'_>,
    memory: &Memory,
    source: Source,
    flow: &Flow,
    asked: Asked,
) -> Answer {
    let explained = Explained { flow: flow.to_string(), ..Explained::default() };
    let mut answer = Answer { explained, steps: Vec::new() };
    let tables = &Watched::reading(memory);
    if let Err(why) = try_answer(view, tables, source, (flow, asked), &mut answer) {
        answer.steps.push(Step { what: "result".to_owned(), text: why.clone() });
        answer.explained.reason = why;
    }
    answer
}

/// Fills in the answer, or says why there is none.
fn try_answer<T: Tables>(
    view: &View<'_>,
    tables: &T,
    source: Source,
    (flow, asked): (&Flow, Asked),
    answer: &mut Answer,
) -> Result<(), String> {
    const NO_PLAN: &str = "no plan is in force yet";
    const ADOPTED: &str =
        "the plan in force is an earlier one's; no node is known by name before the next";
    let in_force = tables.epoch().filter(|epoch| *epoch != 0).ok_or(NO_PLAN)?;
    let live = source == Source::Daemon;
    answer.explained.epoch = if live { in_force } else { 0 };
    let found = find(tables, flow, asked).map_err(stopped)?;
    answer.explained.epoch = if live { found.epoch } else { 0 };
    let decision = view.decision.ok_or(ADOPTED)?;
    let service = view.model.ids.service_at(found.service).ok_or(ADOPTED)?;
    let key = tables.head(found.epoch).ok_or(ADOPTED)?.key;
    let path = &follow(view.model, decision, service, key.hash(&found.flow));
    let mut teller = Teller { view, decision, service, path, flow, answer };
    teller.tell(&found.choice);
    if let Err(verdict) = found.choice {
        teller.result(stopped(verdict));
    }
    Ok(())
}

/// Sends a flow's packet through the stages, up to the choice of its node.
///
/// # Errors
/// The verdict of a packet that is for no service.
pub fn find<T: Tables>(tables: &T, flow: &Flow, asked: Asked) -> Result<Found, Verdict> {
    lb_ebpf::find(&flow.packet(asked), tables)
}

/// Why a packet's way ended before a node was chosen, or at the choice.
fn stopped(verdict: Verdict) -> String {
    let why = match verdict.reason() {
        Reason::DropMartian => "dropped: nobody may send from this source to a service",
        Reason::PassNotVip => "passed to this host: no service has this address",
        Reason::PassNoService => "passed to this host: no service has this protocol and port",
        Reason::PassNotIp => "passed to this host: neither IPv4 nor IPv6",
        Reason::PassMalformed => "passed to this host: cut off, or its headers make no sense",
        Reason::PassNotOurs => "passed to this host: the frame is for others as well",
        Reason::DropNoCluster => "dropped: no cluster may serve this slot",
        Reason::DropNoNode => "dropped: no node may serve this slot",
        Reason::DropBadTable => "dropped: the tables are broken, which is a defect of understudy",
        // Ends of packets that have a node.
        other => return format!("no node: {}", other.name()),
    };
    why.to_owned()
}

#[cfg(test)]
mod tests;
