//! Watches nodes and targets of one configuration: the engine of the checks, and the follower of
//! next hops.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinSet,
    time,
};
use tracing::error;

use super::ways::{self, Change, Ways};
use crate::{
    config::Delivery,
    decide::{Host, Model, Outcome, TargetId, View, intent::node_record, model::NodePlace},
    engine::{Alarm, Engine, EngineError, Figures, Report, Settings, pass_on},
    nexthop::{Found, News, NextHops, Way},
};

/// Pause before next hops are followed again after netlink failed.
const FOLLOW_RETRY: Duration = Duration::from_secs(1);

/// What watchers see; ids are those of their configuration.
pub(super) enum Seen {
    /// Outcomes of checks, as they count.
    Checked(Vec<(TargetId, Outcome)>),
    /// The way to a node.
    Way(Found),
    /// What this host is.
    Host(Host),
    /// A gateway on it answered after it was doubted.
    GatewayAnswers(IpAddr),
    /// There are no more checks.
    Ended,
    /// Something that people want to know.
    Alarm(Alarm),
}

/// All that watches for one configuration; ends with its value.
pub(super) struct Watchers {
    engine: Engine,
    ways: Ways,
    /// They end with it.
    tasks: JoinSet<()>,
}

impl Watchers {
    /// Watches for the configuration in `view`. `epoch` names it in surveys; `send` must not wait,
    /// and says whether anybody listens.
    pub(super) fn start(
        view: &View<'_>,
        epoch: u64,
        send: impl Fn(Seen) -> bool + Clone + Send + 'static,
    ) -> Result<Self, EngineError> {
        let config = &view.model.config;
        let settings = Settings {
            freeze: config.lb.freeze,
            survey_key: config.lb.survey_key.clone(),
            epoch,
            known: view.targets.to_vec(),
        };
        let told = send.clone();
        let (doubt, doubted) = unbounded_channel();
        let engine = Engine::start(view.model.pools.targets.clone(), settings, move |report| {
            told(match report {
                Report::Checked(outcomes) => Seen::Checked(outcomes),
                Report::Alarm(alarm) => Seen::Alarm(alarm),
                Report::Ended => Seen::Ended,
                Report::Doubt(gateway) => return doubt.send(gateway).is_ok(),
            })
        })?;
        let mut tasks = JoinSet::new();
        follow(
            NextHops::new(config, &view.model.pools.targets, view.hops),
            doubted,
            &mut tasks,
            send,
        );
        let this = Self { engine, ways: Ways::default(), tasks };
        this.rest(view);
        Ok(this)
    }

    /// Checks no target any more that is in maintenance, and all others.
    pub(super) fn rest(&self, view: &View<'_>) {
        self.engine.rest(view.admins.resting(view.model));
    }

    /// Something else to do for as long as this lives.
    pub(super) fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Takes in the way to a node of the configuration; returns what people want to know of it.
    pub(super) fn way(&mut self, model: &Model, found: &Found) -> Vec<Change> {
        let id = found.node;
        let address = model.node(id).address;
        let (news, changes) = self.ways.set(id, found.way);
        if news {
            self.engine.path(address, found.way == Way::Up);
        }
        self.ways.lacks(id, found.hop.err());
        // The same server may be another cluster's node, and get its packets otherwise there.
        if through_vip(model, id) {
            let record = node_record(model, id, true, found.hop.ok());
            let to = Delivery::to(model.node(id), &model.config.clusters[model.nodes[id].cluster]);
            self.engine.hop(to, Some(record).filter(|record| record.ifindex != 0));
        }
        self.engine.gateway(address, found.gateway);
        changes
    }

    /// A gateway that was doubted answered.
    pub(super) fn gateway_answers(&self, gateway: IpAddr) {
        self.engine.gateway_answers(gateway);
    }

    /// What was done and seen.
    pub(super) fn watched(&self, loop_lag: Duration) -> Watched {
        let down = |(way, nodes)| Down { what: ways::name(way), nodes };
        let unresolved = |(lack, nodes)| Unresolved { why: ways::explain(lack), nodes };
        Watched {
            engine: self.engine.figures(),
            loop_lag_ms: loop_lag.as_secs_f64() * 1000.0,
            down: self.ways.down().map(down).collect(),
            unresolved: self.ways.unresolved().into_iter().map(unresolved).collect(),
        }
    }
}

/// Whether a node is checked through a VIP.
fn through_vip(model: &Model, node: usize) -> bool {
    let NodePlace { cluster, index } = model.nodes[node];
    let targets = model.pools_of(cluster).filter_map(|pool| model.pool(pool).targets.get(index));
    targets.into_iter().any(|target| model.pools.targets[target.index()].vip.is_some())
}

/// What `status` shows of the watching.
#[derive(Serialize, Deserialize)]
pub struct Watched {
    #[serde(flatten)]
    engine: Figures,
    /// How late the daemon's own loop ran at worst lately, in milliseconds.
    loop_lag_ms: f64,
    /// Links and gateways of this host that are down.
    down: Vec<Down>,
    /// Why nodes have no next hop.
    unresolved: Vec<Unresolved>,
}

/// A link or gateway that is down.
#[derive(Serialize, Deserialize)]
struct Down {
    what: String,
    /// How many nodes are behind it.
    nodes: usize,
}

/// A reason for having no next hop.
#[derive(Serialize, Deserialize)]
struct Unresolved {
    why: String,
    /// How many nodes have it.
    nodes: usize,
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.engine)?;
        self.down.iter().try_for_each(|down| {
            write!(f, "\ndown    {}, with {} nodes behind it", down.what, down.nodes)
        })?;
        self.unresolved
            .iter()
            .try_for_each(|reason| write!(f, "\nno hop  {} nodes: {}", reason.nodes, reason.why))
    }
}

fn follow(
    mut hops: NextHops,
    mut doubted: UnboundedReceiver<IpAddr>,
    tasks: &mut JoinSet<()>,
    send: impl Fn(Seen) -> bool + Send + 'static,
) {
    let (report, news) = unbounded_channel();
    tasks.spawn(async move {
        while let Err(error) = hops.follow(&report, &mut doubted).await {
            error!("next hops are not followed, trying again: {error}");
            time::sleep(FOLLOW_RETRY).await;
        }
    });
    tasks.spawn(pass_on(news, move |news| {
        send(match news {
            News::Way(found) => Seen::Way(found),
            News::Answers(gateway) => Seen::GatewayAnswers(gateway),
            News::Host(host) => Seen::Host(host),
        })
    }));
}
