//! What the tests here are made with.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    sync::mpsc::{Sender, UnboundedReceiver, channel},
    task::JoinHandle,
    time,
};

use super::super::{Agent, Counts, Order};
use crate::{
    config::{Server, Source, SurveyKey, agent},
    decide::Outcome,
    survey::{Announcement, Asker, Options},
};

/// Longer than anything takes on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SERVER: Server = Server { number: 7, port: 443 };
pub(super) const KEY: SurveyKey = SurveyKey([9; 32]);

/// An address of the loopback interface.
pub(super) fn lo(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A running agent. Its server 7:443 is up while a file is there.
pub(super) struct Node {
    pub(super) at: SocketAddr,
    pub(super) orders: Sender<Order>,
    pub(super) task: JoinHandle<Counts>,
    directory: TempDir,
}

impl Node {
    /// Of one server, which is up.
    pub(super) fn start(ip: IpAddr, linger: Duration) -> Self {
        let check = "{ kind = \"exec\", command = [\"test\", \"-e\", \"UP\"] }";
        let server = format!(
            "number = 7, port = 443, interval = \"50ms\", timeout = \"30s\", check = {check}"
        );
        Self::of(&format!("servers = [{{ {server} }}]"), ip, linger)
    }

    /// By a configuration in which UP is the file that is there.
    pub(super) fn of(config: &str, ip: IpAddr, linger: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("up"), "").expect("a file");
        let path = |name| directory.path().join(name).display().to_string();
        let text = config.replace("UP", &path("up"));
        let text = format!("drain_file = \"{}\"\n{text}", path("drain"));
        let (config, _) = agent::parse(&text, "agent.toml").expect("a good configuration");
        let agent = Agent::bind(config, &KEY, &[SocketAddr::new(ip, 0)]).expect("an agent");
        let at = agent.addresses().expect("its addresses")[0];
        let (orders, receiver) = channel(1);
        let task = tokio::spawn(agent.run(receiver, linger));
        Self { at, orders, task, directory }
    }

    pub(super) fn up_file(&self) -> PathBuf {
        self.directory.path().join("up")
    }

    pub(super) fn drain_file(&self) -> PathBuf {
        self.directory.path().join("drain")
    }

    pub(super) async fn order(&self, order: Order) {
        self.orders.send(order).await.expect("a running agent");
    }

    /// Ends it and waits for that.
    pub(super) async fn end(self) -> Counts {
        self.order(Order::End).await;
        within(self.task).await.expect("no panic")
    }
}

pub(super) fn remove(file: &Path) {
    std::fs::remove_file(file).expect("the file was there");
}

/// An asker for some servers.
pub(super) fn asker(
    servers: &[(IpAddr, Server)],
    source: Option<Source>,
) -> (Asker, UnboundedReceiver<Announcement>) {
    let options = Options { key: &KEY, epoch: 3, source, servers, remember: LONG };
    Asker::open(options).expect("an asker")
}

/// The outcome of asking for one server.
pub(super) async fn ask(asker: &Asker, at: SocketAddr, timeout: Duration) -> Outcome {
    let outcomes = asker.ask(at, &[SERVER], timeout).await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].0, SERVER);
    outcomes[0].1
}

/// Asks until this is the outcome.
pub(super) async fn until(asker: &Asker, at: SocketAddr, expected: Outcome) {
    within(async {
        while ask(asker, at, LONG).await != expected {
            time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    time::timeout(LONG, future).await.expect("it happens in time")
}
