//! The load of the comparison: a few clients at once in the client's namespace, on one thread, that
//! ask as fast as they are answered, or at a steady rate.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    background::Background,
    netns::{self, Netns},
    servers::{BLOCK, GIVE, ONE, STAY, TAKE},
    topology::{NODES, NodeIndex},
};

/// How long a request may take. The kernel's first retransmission comes after a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// A connection for every request, which the node closes when it has answered.
    Connections,
    /// Requests on connections that stay.
    Requests,
    /// The same, so many a second of all clients together.
    Paced(u32),
    /// Bytes from the nodes.
    Download,
    /// Bytes to the nodes.
    Upload,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections that stood.
    pub begun: AtomicU64,
    /// Requests that were answered.
    pub done: AtomicU64,
    /// Requests and connections that failed.
    pub failed: AtomicU64,
    /// Bytes that were read, or handed to the kernel.
    pub bytes: AtomicU64,
    /// Who answered, by [`NodeIndex`].
    pub nodes: [AtomicU64; NODES.len()],
    /// Times that requests on connections that stay took, in nanoseconds.
    pub times: Mutex<Vec<u64>>,
}

/// Running clients. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    /// What became of their work so far.
    pub tally: Arc<Tally>,
    _background: Background,
}

impl Load {
    /// Starts so many clients in a namespace, each of which asks the targets in turn.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the runtime started.
    pub fn start(netns: &Netns, targets: &[SocketAddr], work: Work, clients: u32) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let (namespace, seen, targets) = (netns.path(), Arc::clone(&tally), targets.to_vec());
        let background = Background::start("clients", move || {
            netns::enter(&namespace)?;
            for number in 0..clients {
                let turn = targets.iter().copied().cycle().skip(number as usize % targets.len());
                let turn = turn.take(targets.len()).collect();
                let tally = Arc::clone(&seen);
                tokio::spawn(Client { tally, targets: turn, work, number, clients }.run());
            }
            Ok(())
        })?;
        Ok(Self { tally, _background: background })
    }
}

struct Client {
    tally: Arc<Tally>,
    targets: Vec<SocketAddr>,
    work: Work,
    number: u32,
    clients: u32,
}

impl Client {
    async fn run(self) {
        for target in self.targets.iter().cycle() {
            let work = async {
                match self.work {
                    Work::Connections => self.connection(*target).await,
                    Work::Requests => self.requests(*target, None).await,
                    Work::Paced(rate) => {
                        let period = Duration::from_secs(1) * self.clients / rate;
                        self.requests(*target, Some(period)).await
                    }
                    Work::Download => self.download(*target).await,
                    Work::Upload => self.upload(*target).await,
                }
            };
            if work.await.is_err() {
                self.tally.failed.fetch_add(1, Relaxed);
            }
        }
    }

    async fn connect(&self, target: SocketAddr) -> io::Result<TcpStream> {
        let stream = in_time(TcpStream::connect(target)).await?;
        self.tally.begun.fetch_add(1, Relaxed);
        Ok(stream)
    }

    async fn connection(&self, target: SocketAddr) -> io::Result<()> {
        let answer = in_time(async {
            let mut stream = self.connect(target).await?;
            stream.write_all(ONE.as_bytes()).await?;
            let mut answer = String::with_capacity(16);
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        });
        self.answered(&answer.await?)
    }

    async fn requests(&self, target: SocketAddr, period: Option<Duration>) -> io::Result<()> {
        let mut stream = BufReader::with_capacity(64, self.connect(target).await?);
        stream.get_ref().set_nodelay(true)?;
        stream.write_all(STAY.as_bytes()).await?;
        // Evenly, and not all at once.
        let mut ticks = period.map(|period| {
            let first = Instant::now() + period * self.number / self.clients;
            let mut ticks = interval_at(first, period);
            // Who is late makes up for it: the rate is the same for all.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            ticks
        });
        let mut line = String::with_capacity(16);
        loop {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let start = Instant::now();
            stream.write_all(b"x\n").await?;
            line.clear();
            in_time(stream.read_line(&mut line)).await?;
            let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.answered(line.trim_end().trim_start_matches("x "))?;
            self.tally.times.lock().unwrap_or_else(PoisonError::into_inner).push(time);
        }
    }

    async fn download(&self, target: SocketAddr) -> io::Result<()> {
        let mut stream = self.connect(target).await?;
        stream.write_all(GIVE.as_bytes()).await?;
        let mut block = vec![0; BLOCK];
        loop {
            let read = in_time(stream.read(&mut block)).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.tally.bytes.fetch_add(read as u64, Relaxed);
        }
    }

    async fn upload(&self, target: SocketAddr) -> io::Result<()> {
        let mut stream = self.connect(target).await?;
        stream.write_all(TAKE.as_bytes()).await?;
        let block = vec![0; BLOCK];
        loop {
            let written = in_time(stream.write(&block)).await?;
            self.tally.bytes.fetch_add(written as u64, Relaxed);
        }
    }

    /// Counts an answer, which is a node's name.
    fn answered(&self, name: &str) -> io::Result<()> {
        let node = NodeIndex::named(name).ok_or(io::ErrorKind::InvalidData)?;
        self.tally.nodes[node.index()].fetch_add(1, Relaxed);
        self.tally.done.fetch_add(1, Relaxed);
        Ok(())
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await?
}
