//! Connections that stay: something is heard on each of them every so often, and every byte of it
//! must be right. One that breaks is noted and opened anew.

use std::{convert::Infallible, io::ErrorKind, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    Break, How, Kind, Log,
    ask::{TIMEOUT, connect},
};
use crate::{
    clock::Moment,
    deaths::Deaths,
    servers::{STAY, TELL},
    topology::NodeIndex,
    variant::Variant,
};

/// The connections that stay.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// How many.
    pub number: u16,
    /// Time between two lines on one of them.
    pub period: Duration,
    /// Of each twenty one says something only every third period, and one is half closed.
    pub mixed: bool,
    /// How long may nothing be heard when something should be. TCP repairs what gets lost, later
    /// and later: three losses in a row take more than a second.
    pub patience: Duration,
}

impl Held {
    /// None at all.
    pub const NONE: Self = Self::talking(0, Duration::from_secs(1));

    /// So many that all say something each period.
    #[must_use]
    pub const fn talking(number: u16, period: Duration) -> Self {
        Self { number, period, mixed: false, patience: Duration::from_secs(3) }
    }

    const fn style(self, number: u16) -> Style {
        match number % 20 {
            0 if self.mixed => Style::HalfClosed,
            1 if self.mixed => Style::Every(self.period.saturating_mul(3)),
            _ => Style::Every(self.period),
        }
    }
}

/// What is done on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// The client sends a number so often, and the server sends it back.
    Every(Duration),
    /// The client has closed its side, and the server goes on sending.
    HalfClosed,
}

impl Style {
    const fn word(self) -> &'static str {
        match self {
            Self::Every(_) => STAY,
            Self::HalfClosed => TELL,
        }
    }
}

/// Starts one task for each connection, spread over the period.
pub(super) fn spawn(log: &Arc<Log>, variant: Variant, deaths: &Deaths, held: Held) {
    log.lasting().expect(held.number.into());
    for number in 0..held.number {
        let (log, deaths, style) = (Arc::clone(log), deaths.clone(), held.style(number));
        let first = held.period * u32::from(number) / u32::from(held.number);
        let place = Place { log, deaths, variant, style, number, patience: held.patience };
        tokio::spawn(async move {
            sleep(first).await;
            loop {
                place.hold().await;
                sleep(held.period).await;
            }
        });
    }
}

/// One of them, again and again.
struct Place {
    log: Arc<Log>,
    deaths: Deaths,
    variant: Variant,
    style: Style,
    number: u16,
    patience: Duration,
}

impl Place {
    /// Opens a connection and holds it until it breaks. One that never came to stand is no break:
    /// that new connections come to stand is what requests show.
    async fn hold(&self) {
        let Some(mut open) = self.open().await else {
            return;
        };
        let how = match self.style {
            Style::Every(period) => self.talk(&mut open, period).await,
            Style::HalfClosed => self.listen(&mut open).await,
        };
        let Err(how) = how;
        let Open { node, heard, .. } = open;
        let at = Moment::now();
        let with_its_node = self.deaths.fall_into(node, heard, at);
        self.log.lasting().ended(self.number, Break { at, heard, node, how, with_its_node });
    }

    async fn open(&self) -> Option<Open> {
        let stream = timeout(TIMEOUT, connect(Kind::New, self.variant)).await.ok()?.ok()?;
        // When it breaks, the port is free at once.
        stream.set_zero_linger().ok()?;
        stream.set_nodelay(true).ok()?;
        let mut stream = BufReader::with_capacity(64, stream);
        stream.write_all(self.style.word().as_bytes()).await.ok()?;
        match self.style {
            Style::Every(_) => stream.write_all(b"0\n").await.ok()?,
            Style::HalfClosed => stream.shutdown().await.ok()?,
        }
        let (first, node) = line(&mut stream, TIMEOUT).await.ok()?;
        (first == 0).then_some(())?;
        let heard = self.log.lasting().hears(self.number);
        Some(Open { stream, node, heard })
    }

    /// Sends number after number, each once the last one is back.
    async fn talk(&self, open: &mut Open, period: Duration) -> Result<Infallible, How> {
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            ticks.tick().await;
            number += 1;
            let line = format!("{number}\n");
            open.stream.write_all(line.as_bytes()).await.map_err(|error| how(error.kind()))?;
            self.hear(open, number).await?;
        }
    }

    async fn listen(&self, open: &mut Open) -> Result<Infallible, How> {
        let mut number = 0;
        loop {
            number += 1;
            self.hear(open, number).await?;
        }
    }

    /// Waits for the next line: this number, from the node of all lines before.
    async fn hear(&self, open: &mut Open, number: u64) -> Result<(), How> {
        let (heard, node) = line(&mut open.stream, self.patience).await?;
        if heard != number {
            return Err(How::Wrong);
        }
        if node != open.node {
            return Err(How::Moved(node));
        }
        open.heard = self.log.lasting().hears(self.number);
        Ok(())
    }
}

/// A connection that stands.
struct Open {
    stream: BufReader<TcpStream>,
    node: NodeIndex,
    heard: Moment,
}

/// The next line of a server.
async fn line(
    stream: &mut BufReader<TcpStream>,
    patience: Duration,
) -> Result<(u64, NodeIndex), How> {
    let mut line = String::new();
    let read = timeout(patience, stream.read_line(&mut line)).await;
    match read.map_err(|_| How::Silent)?.map_err(|error| how(error.kind()))? {
        0 => return Err(How::Closed),
        _ if !line.ends_with('\n') => return Err(How::Wrong),
        _ => {}
    }
    let (number, name) = line.trim_end().split_once(' ').ok_or(How::Wrong)?;
    let number = number.parse().map_err(|_| How::Wrong)?;
    Ok((number, NodeIndex::named(name).ok_or(How::Wrong)?))
}

/// How a connection ended on which the kernel says this.
fn how(error: ErrorKind) -> How {
    match error {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            How::Reset
        }
        // No text at all.
        ErrorKind::InvalidData => How::Wrong,
        _ => How::Silent,
    }
}
