//! What the cases have in common: connections that stand before anything happens, new ones all the
//! time, and the judgement afterwards.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use lb_common::Pin;

use crate::{
    board::Knowledge,
    clock::Moment,
    configuration::Configuration,
    load::{Break, Held, Kind, Load, Outcome, Rates, Sample},
    site::Site,
    status::Going,
    suites::ward::{PATIENCE, ask, node, share, site, until_in_plan},
    windows::Windows,
};

/// The drain limit of all cases, short enough to be waited for.
const DRAIN: Duration = Duration::from_secs(3);

/// Nobody is silent for as long as the drain limit: the most silent speak every 1.8 s.
const RATES: Rates = Rates {
    requests: 200,
    flows: 60,
    flow_period: Duration::from_millis(500),
    held: Held {
        number: 1000,
        period: Duration::from_millis(600),
        mixed: true,
        patience: Duration::from_secs(4),
    },
};

/// Connections that stand, and what may happen to them.
pub(super) struct Scene {
    pub(super) site: Site,
    load: Load,
    windows: Windows,
    /// When nothing had happened yet.
    begin: Moment,
    /// Packets whose pins had been looked for by then.
    looked: u64,
}

impl Scene {
    /// The usual one.
    pub(super) fn open() -> Result<Self> {
        Self::with(Configuration::default(), RATES)
    }

    /// One over a configuration of its own.
    pub(super) fn over(configuration: Configuration) -> Result<Self> {
        Self::with(configuration, RATES)
    }

    /// One of other connections; nobody of them may be silent for as long as this drain limit.
    pub(super) fn of(held: Held, drain: Duration) -> Result<Self> {
        let cluster = format!("drain = \"{drain:?}\"\n");
        let configuration = Configuration { cluster, ..Default::default() };
        Self::with(configuration, Rates { held, ..RATES })
    }

    fn with(mut configuration: Configuration, rates: Rates) -> Result<Self> {
        configuration.lb += &format!("drain = \"{DRAIN:?}\"\n");
        let site = site(configuration)?;
        let load = Load::start(&site.topology, rates)?;
        let windows = Windows::open()?;
        let mut this = Self { site, load, windows, begin: Moment::now(), looked: 0 };
        this.all_are_heard()?;
        this.steady()?;
        Ok(this)
    }

    /// Waits until nobody's pin is looked for, and takes that for the beginning.
    pub(super) fn steady(&mut self) -> Result<()> {
        let deadline = Moment::now().after(PATIENCE);
        loop {
            let before = looked_for()?;
            self.begin = Moment::now();
            // Everybody has spoken in between.
            self.all_are_heard()?;
            self.looked = looked_for()?;
            if self.looked == before {
                return Ok(());
            }
            ensure!(Moment::now() < deadline, "pins are looked for though nothing happened");
        }
    }

    /// Waits until every connection was heard of again, and new requests were answered.
    pub(super) fn all_are_heard(&mut self) -> Result<()> {
        let from = Moment::now();
        let deadline = from.after(PATIENCE);
        loop {
            let missing = self.load.log.lasting().not_heard_since(from);
            let answered = self.load.log.answered_since(from).requests;
            if missing == 0 && answered >= 100 {
                return Ok(());
            }
            if Moment::now() > deadline {
                self.judge()?;
                ensure!(missing == 0, "of {missing} connections nothing is heard");
                ensure!(answered >= 100, "only {answered} new requests were answered");
            }
            self.site.wait(Duration::from_millis(20))?;
        }
    }

    /// Waits until the limit of every drain has passed.
    pub(super) fn windows_close(&mut self) -> Result<()> {
        let deadline = Moment::now().after(DRAIN + PATIENCE);
        while self.windows.tables_with_base() > 0 {
            ensure!(Moment::now() < deadline, "a drain does not come to its end");
            self.site.wait(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// The end of a case in which slots moved: windows close, everybody is heard of again, nobody
    /// broke.
    pub(super) fn moved(mut self) -> Result<()> {
        self.windows_close()?;
        self.all_are_heard()?;
        self.judge()?;
        ensure!(looked_for()? > self.looked, "no pin was looked for: nothing can have moved");
        Ok(())
    }

    /// The end of a case in which no slot moved.
    pub(super) fn undisturbed(mut self) -> Result<()> {
        self.all_are_heard()?;
        self.judge()?;
        let looked = looked_for()? - self.looked;
        ensure!(looked == 0, "{looked} pins were looked for though nothing moved");
        Ok(())
    }

    /// The end of a case in which, at the limit, the connections on a1 are cut that were not gone.
    pub(super) fn cut_at_the_limit(mut self, began: Moment) -> Result<()> {
        let deadline = Moment::now().after(DRAIN + PATIENCE);
        while self.load.log.lasting().broken().count() < 50 {
            ensure!(Moment::now() < deadline, "hardly a connection is cut");
            self.site.wait(Duration::from_millis(20))?;
        }
        self.windows_close()?;
        self.all_are_heard()?;
        let cut: Vec<Break> = self.load.log.lasting().broken().copied().collect();
        let wrong = |end: &&Break| end.node != node("a1") || end.at < began.after(DRAIN);
        let wrong = cut.iter().find(wrong).map(|end| self.told(end));
        ensure!(wrong.is_none(), "cut too early, or not on a1: {}", wrong.unwrap_or_default());
        self.no_request_lost()
    }

    /// Nobody broke but with its node, and no request failed but on one.
    pub(super) fn judge(&mut self) -> Result<()> {
        let broken: Vec<Break> = self.load.log.lasting().broken().copied().collect();
        if let Some(first) = broken.first() {
            let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
            broken.iter().for_each(|end| *nodes.entry(end.node.node().name).or_default() += 1);
            let (number, first) = (broken.len(), self.told(first));
            bail!("{number} connections broke; by node {nodes:?}; {first}");
        }
        self.no_request_lost()
    }

    fn no_request_lost(&mut self) -> Result<()> {
        let lost = self.site.lost(&self.load.log, self.begin)?;
        ensure!(lost.is_none(), "a request was lost: {lost:?}");
        Ok(())
    }

    fn told(&self, end: &Break) -> String {
        format!("{:.2} s after the beginning {end}", end.at.since(self.begin).as_secs_f64())
    }

    /// How many connections have ended with their node.
    pub(super) fn ended_with_their_node(&self) -> usize {
        self.load.log.lasting().ended_with_their_node()
    }

    /// Kills a node, and waits until it gets nobody.
    pub(super) fn die(&mut self, name: &str) -> Result<()> {
        self.site.topology.set_link(node(name), false)?;
        until_in_plan(&mut self.site, node(name), false)
    }

    /// Brings a node back, and waits until it gets flows.
    pub(super) fn bring_back(&mut self, name: &str) -> Result<()> {
        self.site.topology.set_link(node(name), true)?;
        until_in_plan(&mut self.site, node(name), true)
    }

    /// Waits until a cluster serves, or no longer.
    pub(super) fn serves(&mut self, cluster: &str, serves: bool) -> Result<()> {
        self.site.until(&format!("{cluster} serves: {serves}"), |known| {
            ((share(known.status.as_ref()?, cluster) > 0.0) == serves).then_some(())
        })
    }

    /// A cluster's share of the slots, as the daemon has it now.
    pub(super) fn share(&mut self, cluster: &str) -> Result<f64> {
        Ok(share(&self.site.status()?, cluster))
    }

    /// Waits until a cluster has this share; returns its shares until then, as far as they were seen,
    /// with the times.
    pub(super) fn until_share(&mut self, cluster: &str, whole: f64) -> Result<Vec<(Moment, f64)>> {
        let steps = RefCell::new(Vec::new());
        self.site.until(&format!("{cluster} has {whole} of all slots"), |known| {
            let status = known.status.as_ref()?;
            let is = share(status, cluster);
            let mut steps = steps.borrow_mut();
            let was = steps.last().map_or(0.0, |&(_, share)| share);
            if is != was {
                steps.push((status.said_at(), is));
            }
            ((is - whole).abs() < 1e-9).then_some(())
        })?;
        Ok(steps.into_inner())
    }

    /// What part of the new requests that began between two moments was a cluster's, in each of so many
    /// parts of the time.
    pub(super) fn seen_of(
        &self,
        cluster: &str,
        from: Moment,
        to: Moment,
        parts: u32,
    ) -> Result<Vec<f64>> {
        let part = to.since(from) / parts;
        let mut seen = Vec::new();
        for begin in (0..parts).map(|i| from.after(part * i)) {
            let end = begin.after(part);
            let within = |sample: &&Sample| begin <= sample.start && sample.start < end;
            let (mut its, mut all) = (0_u32, 0_u32);
            for sample in self.load.log.samples().iter().filter(within) {
                if let (Kind::New, Outcome::Node(node)) = (sample.kind, sample.outcome) {
                    its += u32::from(node.node().cluster == cluster);
                    all += 1;
                }
            }
            ensure!(all > 50, "only {all} new requests in {part:?}");
            seen.push(f64::from(its) / f64::from(all));
        }
        Ok(seen)
    }

    /// Tells the daemon something about a node, `CLUSTER/NODE`, and waits for what follows.
    pub(super) fn order(&mut self, order: &str, whom: &str) -> Result<()> {
        self.site.command(&[order, whom])?;
        let (_, name) = whom.split_once('/').context("CLUSTER/NODE")?;
        until_in_plan(&mut self.site, node(name), order == "undrain")
    }

    /// Changes the configuration of the running daemon.
    pub(super) fn reload(&mut self, change: impl FnOnce(&mut Configuration)) -> Result<()> {
        self.site.configure(change)?;
        self.site.command(&["reload"]).map(drop)
    }

    /// Everything that can be seen ends by silence: the client's cable is pulled, and with the load
    /// go its connections, unheard. Waits until there is no pin.
    pub(super) fn fall_silent(&mut self) -> Result<()> {
        self.site.topology.set_client(false)?;
        let none = Rates { requests: 0, flows: 0, held: Held::NONE, ..RATES };
        self.load = Load::start(&self.site.topology, none)?;
        let deadline = Moment::now().after(DRAIN + PATIENCE);
        loop {
            let left = self.windows.pins()?;
            if left.is_empty() {
                break;
            }
            let some = &left[..left.len().min(3)];
            ensure!(Moment::now() < deadline, "{} pins are left, such as {some:?}", left.len());
            self.site.wait(Duration::from_millis(50))?;
        }
        self.site.topology.set_client(true)?;
        self.load = Load::start(&self.site.topology, RATES)?;
        Ok(())
    }

    /// Every pin there is.
    pub(super) fn pins(&self) -> Result<Vec<Pin>> {
        self.windows.pins()
    }

    /// Waits until what is said of a node that is to serve no longer fits.
    pub(super) fn going(&mut self, name: &str, fits: impl Fn(&Going) -> bool) -> Result<()> {
        let said = |known: &Knowledge| known.status.as_ref()?.node(node(name))?.going.clone();
        let fitting = self.site.until(&format!("what is left on {name}"), |known| {
            said(known).filter(|going| fits(going)).map(drop)
        });
        fitting.with_context(|| format!("told is {:?}", said(&self.site.board.watch.now())))
    }
}

/// How many packets' pins were looked for since the maps were made.
fn looked_for() -> Result<u64> {
    counter("pin_looked_for")
}

/// What the daemon's status says of a counter.
pub(super) fn counter(name: &str) -> Result<u64> {
    let counters = ask()?.counters;
    counters.get(name).copied().with_context(|| format!("the daemon counts no {name}"))
}
