//! All that stands before there is load: the network, the servers on it and the daemon.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{
    board::{Board, Knowledge},
    clock::Moment,
    daemon::Daemon,
    owner::{Directories, Owner},
    servers::Servers,
    status::{Plan, Status},
    stop::Stop,
    topology::{CLUSTERS, NodeIndex, Topology},
};

/// How long the daemon may take for anything that is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything but the load. Dropped in this order: who asks before who answers, the wires and
/// the directories last.
#[derive(Debug)]
pub struct Site {
    /// What the daemon says.
    pub board: Board,
    daemon: Option<Daemon>,
    _servers: Servers,
    /// The network.
    pub topology: Topology,
    _directories: Directories,
    /// Ends every wait.
    pub stop: Stop,
}

impl Site {
    /// Builds it; the daemon has its first plan in force when this returns.
    ///
    /// # Errors
    /// If something cannot be had, or the switch is pulled. Nothing is left of it then.
    pub fn start(stop: &Stop) -> Result<Self> {
        let object = lb_user::object::object();
        let object = object.context("built without the data path, use cargo xtask build")?;
        let owner = Owner::this();
        let _directories = Directories::create()?;
        let mut topology = Topology::build(owner)?;
        topology.receive_xdp_tx(object)?;
        let mut this = Self {
            board: Board::watch(Daemon::socket(owner))?,
            daemon: None,
            _servers: Servers::start(&topology)?,
            topology,
            _directories,
            stop: stop.clone(),
        };
        this.start_daemon()?;
        Ok(this)
    }

    /// Starts the daemon and waits until everything is up and its plan says so.
    ///
    /// # Errors
    /// If it does not come so far.
    pub fn start_daemon(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::start(Owner::this(), &self.topology.lb)?);
        self.until("every node up and a plan in force", |known| {
            let status = known.status.as_ref()?;
            let up = NodeIndex::all().all(|node| status.state(node) == "up");
            let healthy = CLUSTERS.iter().all(|c| status.cluster(c).is_some_and(|c| c.healthy));
            let shared = Plan::of(status).cluster("A") > 0.0;
            (up && healthy && shared).then_some(())
        })
    }

    /// Kills the daemon where it stands, and waits until nobody answers for it.
    ///
    /// # Errors
    /// If there is none, or it had ended by itself.
    pub fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.kill()?;
        self.until("nobody on the control socket", |known| known.status.is_none().then_some(()))
    }

    /// Waits until what the daemon says fits.
    ///
    /// # Errors
    /// If that takes too long, the daemon ends, or the switch is pulled.
    pub fn until<T>(&mut self, what: &str, fits: impl Fn(&Knowledge) -> Option<T>) -> Result<T> {
        let deadline = Moment::now().after(DEADLINE);
        loop {
            self.stop.wait(Duration::ZERO)?;
            if let Some(daemon) = &mut self.daemon {
                daemon.check()?;
            }
            if let Some(value) = fits(&self.board.watch.now()) {
                return Ok(value);
            }
            if deadline < Moment::now() {
                bail!("waited {DEADLINE:?} for: {what}; {}", self.daemon_words());
            }
            self.board.watch.wait_for_news();
        }
    }

    /// Waits so long, while the daemon lives.
    ///
    /// # Errors
    /// If the daemon ends or the switch is pulled.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        self.stop.wait(time)?;
        self.daemon.as_mut().map_or(Ok(()), Daemon::check)
    }

    /// The end of the daemon's log, to be shown when something failed.
    #[must_use]
    pub fn daemon_words(&self) -> String {
        self.daemon.as_ref().map_or_else(|| "no daemon runs".to_owned(), Daemon::last_words)
    }

    /// The daemon's latest answer.
    ///
    /// # Errors
    /// If it does not answer within the deadline.
    pub fn status(&mut self) -> Result<Status> {
        self.until("an answer of the daemon", |known| known.status.clone())
    }
}
