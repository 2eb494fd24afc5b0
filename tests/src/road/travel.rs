//! A road with servers and a daemon on it.

use std::{collections::BTreeMap, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use super::{configuration, network::Road, servers::Servers, shape::Shape, way::Way};
use crate::{
    clock::Moment,
    daemon::{Daemon, beside},
    owner::{Directories, Owner},
    status::Status,
    stop::Stop,
};

/// How long anything that is waited for may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// All that a traveller needs. Dropped in this order: who asks before who answers.
#[derive(Debug)]
pub struct Travel {
    daemon: Daemon,
    _servers: Servers,
    /// The network.
    pub road: Road,
    _directories: Directories,
    stop: Stop,
}

impl Travel {
    /// Builds it; every node of every way is up when this returns.
    ///
    /// # Errors
    /// If something cannot be had, or the switch is pulled. Nothing is left of it then.
    pub fn start(shape: Shape, ways: &[Way], stop: &Stop) -> Result<Self> {
        let owner = Owner::this();
        let directories = Directories::create()?;
        let road = Road::build(owner, shape)?;
        let servers = Servers::start(&road, ways)?;
        Daemon::configure(owner, &configuration::text(&road, ways, owner))?;
        let daemon = Daemon::start(owner, &road.lb, &beside("understudy")?)?;
        let stop = stop.clone();
        let mut this = Self { daemon, _servers: servers, road, _directories: directories, stop };
        this.until("every node up", |status| {
            let mut nodes = status.clusters.iter().flat_map(|cluster| &cluster.nodes);
            status.epoch > 0 && nodes.all(|node| node.state == "up" && node.share > 0.0)
        })?;
        this.is_native()?;
        Ok(this)
    }

    /// Waits until the daemon says so.
    ///
    /// # Errors
    /// If that takes too long, the daemon ends, or the switch is pulled.
    pub fn until(&mut self, what: &str, fits: impl Fn(&Status) -> bool) -> Result<()> {
        let deadline = Moment::now().after(DEADLINE);
        let socket = Daemon::socket(Owner::this());
        loop {
            self.daemon.check()?;
            let status = Status::ask(&socket);
            if status.as_ref().is_ok_and(&fits) {
                return Ok(());
            }
            if deadline < Moment::now() {
                let states = status.map(|status| format!("{:?}", status.clusters));
                let states = states.unwrap_or_else(|error| format!("{error:#}"));
                bail!("waited {DEADLINE:?} for: {what}; {states}; {}", self.daemon.last_words());
            }
            self.stop.wait(Duration::from_millis(20))?;
        }
    }

    /// The load balancer's counters, by reason.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        Ok(Status::ask(&Daemon::socket(Owner::this()))?.counters)
    }

    /// The end of the daemon's log, to be shown when something failed.
    #[must_use]
    pub fn daemon_words(&self) -> String {
        self.daemon.last_words()
    }

    /// Fails unless the program is in the driver of each of the load balancer's interfaces.
    fn is_native(&self) -> Result<()> {
        let output = Command::new("ip")
            .args(["-n", self.road.lb.name(), "-o", "-d", "link", "show"])
            .output()
            .context("starting ip (package iproute2)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        for wire in 0..self.road.shape.wires() {
            let of_wire = |line: &&str| line.contains(&format!(" eth{wire}@"));
            let line = text.lines().find(of_wire).with_context(|| format!("no eth{wire}"))?;
            // `xdpgeneric` if it were not in the driver.
            ensure!(line.contains(" xdp "), "the program is not native: {line}");
        }
        Ok(())
    }
}
