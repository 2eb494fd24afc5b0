//! All that stands before there is load: the network, the servers on it and the daemon.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::{
    board::{Board, Knowledge},
    checked::agent::{Agent, KEY},
    clock::Moment,
    configuration::Configuration,
    daemon::{Daemon, beside},
    load::{Log, Outcome, Sample},
    owner::{Directories, Owner},
    servers::Servers,
    status::{Plan, Status},
    stop::Stop,
    topology::{NodeIndex, PORT, Topology},
    variant::Variant,
};

/// How long the daemon may take for anything that is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything but the load. Dropped in this order: who asks before who answers, the wires and
/// the directories last.
#[derive(Debug)]
pub struct Site {
    /// What the daemon says.
    pub board: Board,
    configuration: Configuration,
    program: PathBuf,
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
    pub fn start(stop: &Stop, variant: Variant) -> Result<Self> {
        let mut this = Self::build(stop, Configuration { variant, ..Default::default() })?;
        this.start_daemon()?;
        Ok(this)
    }

    /// Builds it all for a configuration, but starts no daemon yet.
    ///
    /// # Errors
    /// If something cannot be had. Nothing is left of it then.
    pub fn build(stop: &Stop, configuration: Configuration) -> Result<Self> {
        let owner = Owner::this();
        let _directories = Directories::create()?;
        let topology = Topology::build(owner, configuration.variant)?;
        Ok(Self {
            board: Board::watch(Daemon::socket(owner))?,
            configuration,
            program: beside("understudy")?,
            daemon: None,
            _servers: Servers::start(&topology)?,
            topology,
            _directories,
            stop: stop.clone(),
        })
    }

    /// Builds it with an agent on every node, by `health` for a daemon that surveys them, but starts
    /// no daemon yet. `check` is how a node's agent checks its server, as [`Agent::start`] takes it.
    ///
    /// # Errors
    /// If something cannot be had. Nothing is left of it then.
    pub fn surveyed(
        stop: &Stop,
        health: &str,
        check: impl Fn(NodeIndex) -> &'static str,
    ) -> Result<(Vec<Agent>, Self)> {
        let lb = format!("survey_key = \"{KEY}\"\n");
        let this = Self::build(stop, Configuration { lb, ..Configuration::checked_by(health) })?;
        let agents = NodeIndex::all().map(|node| this.agent(node, check(node)));
        Ok((agents.collect::<Result<_>>()?, this))
    }

    /// Starts a node's agent.
    ///
    /// # Errors
    /// See [`Agent::start`].
    pub fn agent(&self, node: NodeIndex, check: &str) -> Result<Agent> {
        let directory = Owner::this().directory();
        Agent::start(self.topology.node(node), &directory, node, PORT, check)
    }

    /// Starts the daemon and waits until everything is up and its plan says so.
    ///
    /// # Errors
    /// If it does not come so far.
    pub fn start_daemon(&mut self) -> Result<()> {
        let owner = Owner::this();
        Daemon::configure(owner, &self.configuration.text(owner))?;
        self.daemon = Some(Daemon::start(owner, &self.topology.lb, &self.program)?);
        self.until("every node up and a plan in force", |known| {
            let status = known.status.as_ref()?;
            let mut pools = status.clusters.iter();
            let well =
                pools.all(|pool| pool.healthy && pool.nodes.iter().all(|node| node.state == "up"));
            let shared = Plan::of(status).cluster("A") > 0.0;
            (well && shared).then_some(())
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

    /// Removes what the daemon wrote down of its plan for the next one.
    ///
    /// # Errors
    /// If there is nothing.
    pub fn lose_plan(&self) -> Result<()> {
        let mut lost = 0;
        for entry in fs::read_dir(Owner::this().directory())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(".plan-") {
                fs::remove_file(entry.path()).context("removing the file of a plan")?;
                lost += 1;
            }
        }
        ensure!(lost > 0, "no daemon has written down a plan");
        Ok(())
    }

    /// Has the daemon end, and waits until nobody answers for it.
    ///
    /// # Errors
    /// If there is none, or it does not end well.
    pub fn stop_daemon(&mut self) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.stop()?;
        self.until("nobody on the control socket", |known| known.status.is_none().then_some(()))
    }

    /// Changes the configuration of the next start and the next reload.
    ///
    /// # Errors
    /// If its file cannot be written.
    pub fn configure(&mut self, change: impl FnOnce(&mut Configuration)) -> Result<()> {
        change(&mut self.configuration);
        let owner = Owner::this();
        Daemon::configure(owner, &self.configuration.text(owner))
    }

    /// The next start is of a program of its own, as after an upgrade.
    ///
    /// # Errors
    /// If it cannot be put there.
    pub fn install(&mut self) -> Result<()> {
        let newer = Owner::this().directory().join("understudy");
        fs::copy(&self.program, &newer).context("copying the program")?;
        self.program = newer;
        Ok(())
    }

    /// What a second daemon of the same configuration says, which must refuse to start.
    ///
    /// # Errors
    /// If it cannot be started, or is not refused.
    pub fn second_daemon(&self) -> Result<String> {
        let mut command = Daemon::command(Owner::this(), &self.topology.lb, &self.program);
        let output = command.output().context("starting a second daemon")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{}, not refused: {said}", output.status);
        Ok(said)
    }

    /// What a command of the program says to the daemon's socket.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--socket").arg(Daemon::socket(Owner::this()));
        let output = command.output().context("starting understudy")?;
        let said = |text: &[u8]| String::from_utf8_lossy(text).trim().to_owned();
        let failed = || format!("{}: {}", arguments.join(" "), said(&output.stderr));
        ensure!(output.status.success(), "{}", failed());
        Ok(said(&output.stdout))
    }

    /// The log of this daemon and those before it.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// If there is none, or it has ended.
    pub fn signal_daemon(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("no daemon runs")?.signal(signal)
    }

    /// Waits until what the daemon says fits.
    ///
    /// # Errors
    /// If that takes too long, the daemon ends, or the switch is pulled.
    pub fn until<T>(&mut self, what: &str, fits: impl Fn(&Knowledge) -> Option<T>) -> Result<T> {
        let deadline = Moment::now().after(DEADLINE);
        loop {
            self.stop.check()?;
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

    /// Waits until the board has all that the daemon did before this call.
    ///
    /// # Errors
    /// As [`Site::until`].
    pub fn catch_up(&mut self) -> Result<()> {
        let now = Moment::now();
        self.until("the board is up to date", |known| {
            (known.status.as_ref()?.said_at() > now).then_some(())
        })
    }

    /// Waits so long, while the daemon lives.
    ///
    /// # Errors
    /// If the daemon ends or the switch is pulled.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        self.stop.wait(time)?;
        self.daemon.as_mut().map_or(Ok(()), Daemon::check)
    }

    /// The first request that began since a moment and failed, although no node was dead that it could
    /// have been sent to: one is out with the commit that follows its death.
    ///
    /// # Errors
    /// As [`Site::until`].
    pub fn lost(&mut self, log: &Log, since: Moment) -> Result<Option<Sample>> {
        let failed = |sample: &&Sample| {
            sample.start >= since && matches!(sample.outcome, Outcome::Failed(_))
        };
        let failed: Vec<Sample> = log.samples().iter().filter(failed).copied().collect();
        if failed.is_empty() {
            return Ok(None);
        }
        self.catch_up()?;
        let known = self.board.watch.now();
        let deaths = self.topology.deaths.all().into_iter();
        let times: Vec<_> = deaths.map(|death| (death.from, known.out_after(&death))).collect();
        let excused = |sample: &Sample| {
            times
                .iter()
                .any(|(dead, out)| sample.end >= *dead && out.is_none_or(|out| sample.start <= out))
        };
        Ok(failed.into_iter().find(|sample| !excused(sample)))
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
