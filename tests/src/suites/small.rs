//! The smallest place to run a daemon in: one namespace for it, one for a client, a veth pair.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    clock::Moment,
    daemon::beside,
    netns::Netns,
    owner::{Directories, Owner},
};

/// The load balancer's interface.
pub(super) const INTERFACE: &str = "lb0";
const PATIENCE: Duration = Duration::from_secs(10);

/// Two namespaces and the files of a daemon.
pub(super) struct Small {
    daemon: Option<Child>,
    pub(super) client: Netns,
    pub(super) lb: Netns,
    directories: Directories,
}

impl Small {
    pub(super) fn new() -> Result<Self> {
        let directories = Directories::create()?;
        let owner = Owner::this();
        let names = ["client", "lb"].map(|role| owner.netns(role)).to_vec();
        let mut made = Netns::create(names)?.into_iter();
        let (Some(client), Some(lb)) = (made.next(), made.next()) else {
            bail!("two namespaces were asked for");
        };
        lb.ip(&format!(
            "link add {INTERFACE} type veth peer name eth0 netns {}\n\
             link set lo up\nlink set {INTERFACE} up\n\
             address add 203.0.113.1/24 dev {INTERFACE}\naddress add 192.0.2.10/32 dev lo\n\
             address add 2001:db8::1/64 dev {INTERFACE} nodad\n",
            client.name()
        ))?;
        client.ip(
            "link set lo up\nlink set eth0 up\naddress add 203.0.113.2/24 dev eth0\n\
             address add 2001:db8::2/64 dev eth0 nodad\nroute add 192.0.2.10/32 via 203.0.113.1\n",
        )?;
        Ok(Self { daemon: None, client, lb, directories })
    }

    /// How every configuration begins, with more lines of `[lb]`.
    pub(super) fn heading(&self, lb: &str) -> String {
        format!(
            r#"[lb]
secret = "000102030405060708090a0b0c0d0e0f"
bpffs = "{}"
socket = "{}"
{lb}
[[interface]]
name = "{INTERFACE}"

"#,
            self.pins().display(),
            self.socket().display()
        )
    }

    /// A configuration of one master and a standby whose nodes are not there, with changes.
    pub(super) fn configuration(&self, edits: &[(&str, &str)]) -> Result<PathBuf> {
        let clusters = r#"[[cluster]]
name = "A"
min_survivors = 1
health = { interval = "100ms", timeout = "50ms", fall = 1, rise = 1 }
nodes = [{ name = "a1", address = "203.0.113.2" }, { name = "a2", address = "203.0.113.9" }]

[[cluster]]
name = "S"
health = { interval = "100ms", timeout = "50ms", fall = 1, rise = 1 }
nodes = [{ name = "s1", address = "203.0.113.8" }]

[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
backup = "one-standby"
masters = ["A"]
standbys = ["S"]
"#;
        let mut text = self.heading("") + clusters;
        for (from, to) in edits {
            ensure!(text.contains(from), "no {from:?} in the configuration");
            text = text.replace(from, to);
        }
        self.write(&text)
    }

    /// Writes the configuration's file.
    pub(super) fn write(&self, text: &str) -> Result<PathBuf> {
        let path = self.directory().join("small.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Where files go.
    pub(super) fn directory(&self) -> PathBuf {
        self.directories.path()
    }

    pub(super) fn pins(&self) -> PathBuf {
        Owner::this().bpffs()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directories.path().join("control.sock")
    }

    /// A command in the load balancer's namespace.
    pub(super) fn in_lb(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.lb.path().display())).arg("--").arg(program);
        command
    }

    /// `understudy` in the load balancer's namespace, run to its end; one that does not end by
    /// itself is an error.
    pub(super) fn understudy(&self, arguments: &[&str]) -> Result<Output> {
        let program = beside("understudy")?;
        let mut command = self.in_lb("timeout");
        command.args(["--kill-after=1", "10"]).arg(program).args(arguments);
        let output = command.output().context("starting understudy")?;
        ensure!(output.status.code() != Some(124), "{arguments:?} does not end: {}", said(&output));
        Ok(output)
    }

    /// Starts the daemon with a configuration and waits until it answers and has published.
    pub(super) fn start(&mut self, configuration: &std::path::Path) -> Result<()> {
        let log = fs::File::create(self.directories.path().join("daemon.log"))?;
        let child = self
            .in_lb("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(beside("understudy")?)
            .arg("run")
            .arg("--config")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.daemon = Some(child);
        self.until("the daemon has a plan", |small| {
            let status =
                small.understudy(&["status", "--format", "json", "--socket", &small.at()])?;
            let status: serde_json::Value =
                serde_json::from_slice(&status.stdout).unwrap_or_default();
            Ok(status["epoch"].as_u64() > Some(0) && status["adopted"] == false)
        })
    }

    /// The socket's path as an argument.
    pub(super) fn at(&self) -> String {
        self.socket().display().to_string()
    }

    /// Whether an XDP program is on the load balancer's interface.
    pub(super) fn attached(&self) -> Result<bool> {
        let output = self.in_lb("ip").args(["-d", "link", "show", INTERFACE]).output()?;
        ensure!(output.status.success(), "ip link: {}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).contains("prog/xdp"))
    }

    /// What the daemon says of itself.
    pub(super) fn status(&self) -> Result<serde_json::Value> {
        let output = self.understudy(&["status", "--format", "json", "--socket", &self.at()])?;
        ensure!(output.status.success(), "status: {}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Sends a signal to the daemon.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.daemon.as_ref().context("no daemon runs")?;
        Ok(kill(Pid::from_raw(child.id().cast_signed()), signal)?)
    }

    /// Ends the daemon by a signal and waits for its end.
    pub(super) fn stop(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let mut child = self.daemon.take().context("no daemon runs")?;
        let deadline = Moment::now().after(PATIENCE);
        while child.try_wait()?.is_none() {
            ensure!(Moment::now() < deadline, "the daemon does not end on {signal}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The daemon's log and its events so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directories.path().join("daemon.log")).unwrap_or_default()
    }

    /// Waits until something is so.
    pub(super) fn until(&self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Moment::now().after(PATIENCE);
        while !holds(self)? {
            ensure!(Moment::now() < deadline, "{what}: not within {PATIENCE:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Some(child) = &mut self.daemon {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a command wrote, for messages.
pub(super) fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    format!("{}: {}", output.status, String::from_utf8_lossy(&text).trim())
}
