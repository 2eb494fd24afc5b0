//! Makes one check of a schedule: a probe, or a survey.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::LocalBoxFuture, future::join_all};
use lb_common::NodeRecord;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Settings, pass_on,
    schedule::{Ask, JobId, Start},
};
use crate::{
    config::{Delivery, Probe, Server, Source, SurveySend, Target},
    decide::{MissReason, Outcome, TargetId},
    probe::{ProbeError, Prober},
    survey::{Announcement, Asker, Counts, Options, SurveyError},
    vippath::{self, VipPath, VipPathError},
};

/// Announcements are believed for so many intervals after a question: an agent knows only the last
/// one that reached it.
const REMEMBER: u32 = 10;

/// Why checks cannot be made.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum AskError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("via = \"vip\": {0}")]
    VipPath(#[from] VipPathError),
    #[error("survey: lb.survey_key is missing")]
    NoKey,
}

/// What an agent said unasked, and to whom of those who ask: it tells each of them.
pub(super) struct Heard {
    pub(super) source: Option<Source>,
    pub(super) said: Announcement,
}

/// A check under way.
pub(super) type Check<'a> = LocalBoxFuture<'a, (JobId, Outcomes)>;

/// Outcomes of one check.
pub(super) type Outcomes = Vec<(TargetId, Outcome)>;

/// All that checks are made with.
pub(super) struct Asking<'a> {
    targets: &'a [Target],
    prober: Prober,
    /// There if any target is checked through a VIP.
    vip_path: Option<Arc<VipPath>>,
    /// By where they ask from.
    askers: BTreeMap<Option<Source>, Asker>,
    /// Targets by what agents speak of.
    servers: HashMap<(IpAddr, Server), Vec<TargetId>>,
}

impl<'a> Asking<'a> {
    /// Makes ready for checks of `targets`; `heard` gets what agents say unasked. Within a tokio
    /// runtime only.
    pub(super) async fn new(
        targets: &'a [Target],
        settings: &Settings,
        heard: UnboundedSender<Heard>,
    ) -> Result<Self, AskError> {
        let mut sources: BTreeMap<Option<Source>, Vec<&Target>> = BTreeMap::new();
        let mut servers: HashMap<_, Vec<TargetId>> = HashMap::new();
        for (id, target) in (0..).map(TargetId).zip(targets) {
            let Some(server) = target.server else { continue };
            sources.entry(target.health.source.clone()).or_default().push(target);
            servers.entry((target.at.ip(), server)).or_default().push(id);
        }
        let mut askers = BTreeMap::new();
        for (source, targets) in sources {
            let of = |target: &&Target| Some((target.at.ip(), target.server?));
            let interval = targets.iter().map(|target| target.health.interval).max();
            let (asker, announcements) = Asker::open(Options {
                key: settings.survey_key.as_ref().ok_or(AskError::NoKey)?,
                epoch: settings.epoch,
                source: source.clone(),
                servers: &targets.iter().filter_map(of).collect::<Vec<_>>(),
                remember: interval.unwrap_or_default() * REMEMBER,
            })?;
            askers.insert(source.clone(), asker);
            let heard = heard.clone();
            tokio::spawn(pass_on(announcements, move |said| {
                heard.send(Heard { source: source.clone(), said }).is_ok()
            }));
        }
        let mut prober = Prober::new(targets)?;
        let vips: BTreeSet<IpAddr> = targets.iter().filter_map(|t| Some(t.vip?.at.ip())).collect();
        let mut vip_path = None;
        if !vips.is_empty() {
            let path = Arc::new(VipPath::start(&Vec::from_iter(vips)).await?);
            prober = prober.with_vip_path(Arc::clone(&path));
            vip_path = Some(path);
        }
        Ok(Self { targets, prober, vip_path, askers, servers })
    }

    /// How checks through VIPs get to a node from now on.
    pub(super) fn set_hop(&self, to: Delivery, record: Option<NodeRecord>) {
        if let Some(path) = &self.vip_path
            && let Err(error) = path.set_hop(to, record)
        {
            tracing::warn!("checks through a VIP do not get to {}: {error}", to.address);
        }
    }

    /// What became of the packets of checks through VIPs.
    pub(super) fn vip_path(&self) -> Option<vippath::Counts> {
        Some(self.vip_path.as_ref()?.counts())
    }

    /// Makes a check. One that panics is what this host could not do.
    pub(super) fn make(&self, start: Start) -> Check<'_> {
        async move {
            let check = AssertUnwindSafe(self.outcomes(&start.ask)).catch_unwind().await;
            let asked = match &start.ask {
                Ask::Probe(target) => std::slice::from_ref(target),
                Ask::Agents(targets) | Ask::Group(targets) => targets,
            };
            (start.job, check.unwrap_or_else(|_| local(asked)))
        }
        .boxed_local()
    }

    /// The targets that an announcement is about, of those that are asked from where it came to.
    pub(super) fn about(&self, heard: &Heard) -> impl Iterator<Item = TargetId> {
        let targets = self.servers.get(&(heard.said.from, heard.said.server));
        let from_there = |id: &TargetId| self.targets[id.index()].health.source == heard.source;
        targets.into_iter().flatten().copied().filter(from_there)
    }

    /// What was done and seen in surveys.
    pub(super) fn surveyed(&self) -> impl Iterator<Item = Counts> {
        self.askers.values().map(Asker::counts)
    }

    async fn outcomes(&self, ask: &Ask) -> Outcomes {
        match ask {
            Ask::Probe(id) => {
                let target = &self.targets[id.index()];
                vec![(*id, self.prober.check(target).await)]
            }
            Ask::Agents(ids) => {
                let mut agents: BTreeMap<SocketAddr, Vec<TargetId>> = BTreeMap::new();
                for &id in ids {
                    agents.entry(self.targets[id.index()].at).or_default().push(id);
                }
                join_all(agents.iter().map(|(at, ids)| self.agent(*at, ids))).await.concat()
            }
            Ask::Group(ids) => self.group(ids).await,
        }
    }

    /// Asks one agent.
    async fn agent(&self, at: SocketAddr, ids: &[TargetId]) -> Outcomes {
        let Some((asker, timeout)) = self.asker(ids) else { return local(ids) };
        let server = |id: &TargetId| self.targets[id.index()].server;
        let expected: Vec<Server> = ids.iter().filter_map(server).collect();
        let outcomes = asker.ask(at, &expected, timeout).await;
        let outcomes: HashMap<Server, Outcome> = outcomes.into_iter().collect();
        let of = |&id: &TargetId| Some((id, *outcomes.get(&server(&id)?)?));
        ids.iter().filter_map(of).collect()
    }

    /// Asks all agents of a group.
    async fn group(&self, ids: &[TargetId]) -> Outcomes {
        let Some((asker, timeout)) = self.asker(ids) else { return local(ids) };
        let target = |id: &TargetId| &self.targets[id.index()];
        let who = |id: &TargetId| Some((target(id).at.ip(), target(id).server?));
        let Some(to) = ids.first().and_then(|first| group(target(first))) else {
            return local(ids);
        };
        let expected: Vec<(IpAddr, Server)> = ids.iter().filter_map(who).collect();
        let outcomes = asker.ask_all(to, &expected, timeout).await;
        let outcomes: HashMap<(IpAddr, Server), Outcome> = outcomes.into_iter().collect();
        let of = |&id: &TargetId| Some((id, *outcomes.get(&who(&id)?)?));
        ids.iter().filter_map(of).collect()
    }

    fn asker(&self, ids: &[TargetId]) -> Option<(&Asker, Duration)> {
        let health = &self.targets[ids.first()?.index()].health;
        Some((self.askers.get(&health.source)?, health.timeout))
    }
}

/// Where a survey by broadcast is sent.
fn group(target: &Target) -> Option<SocketAddr> {
    match &target.health.probe {
        Probe::Survey(survey) => match survey.send {
            SurveySend::Broadcast(group) => Some(SocketAddr::new(group, target.at.port())),
            SurveySend::Unicast => None,
        },
        _ => None,
    }
}

fn local(ids: &[TargetId]) -> Outcomes {
    ids.iter().map(|&id| (id, Outcome::Miss(MissReason::Local))).collect()
}
