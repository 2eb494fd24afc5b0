//! Connections that stay: a numbered line on each every period, and its echo. One that breaks
//! is noted and opened anew.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    Break, Kind, Log, Rates,
    ask::{TIMEOUT, connect},
};
use crate::{clock::Moment, servers::STAY, topology::NodeIndex, variant::Variant};

/// Starts one task for each connection, spread over the period.
pub(super) fn spawn(log: &Arc<Log>, variant: Variant, rates: Rates) {
    for number in 0..rates.lasting {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            sleep(rates.echo_period * u32::from(number) / u32::from(rates.lasting)).await;
            loop {
                if let Some(node) = hold(&log, variant, rates).await {
                    let mut lasting = log.lasting();
                    lasting.open -= 1;
                    lasting.breaks.push(Break { at: Moment::now(), node });
                }
                sleep(rates.echo_period).await;
            }
        });
    }
}

/// Opens a connection and talks until it breaks; where it was, if it came to stand at all.
async fn hold(log: &Log, variant: Variant, rates: Rates) -> Option<NodeIndex> {
    let stream = timeout(TIMEOUT, connect(Kind::New, variant)).await.ok()?.ok()?;
    // When it breaks, the port is free at once.
    stream.set_zero_linger().ok()?;
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::with_capacity(64, stream);
    stream.write_all(STAY.as_bytes()).await.ok()?;
    let node = echo(&mut stream, 0).await?;
    log.lasting().open += 1;

    let mut ticks = interval_at(Instant::now() + rates.echo_period, rates.echo_period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1.. {
        ticks.tick().await;
        if echo(&mut stream, number).await != Some(node) {
            break;
        }
        log.lasting().echoes += 1;
    }
    Some(node)
}

/// Sends a line and awaits its echo: the node that it came from.
async fn echo(stream: &mut BufReader<TcpStream>, number: u64) -> Option<NodeIndex> {
    let exchange = async {
        stream.write_all(format!("{number}\n").as_bytes()).await.ok()?;
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let (echoed, name) = line.trim_end().split_once(' ')?;
        (echoed == number.to_string()).then(|| NodeIndex::named(name))?
    };
    timeout(TIMEOUT, exchange).await.ok()?
}
