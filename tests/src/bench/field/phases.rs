//! What is measured of a contender, one phase after the other, and what must hold meanwhile.

use std::{
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{
    cpu::machine_busy,
    flood,
    load::{Load, Tally, Work},
    section::{Packets, Round},
    stage::{Contender, Stage, packets},
};
use crate::{
    bench::figures::Figures,
    clock::Moment,
    stop::Stop,
    topology::{INTERFACE, NodeIndex},
};

/// Clients that ask at once.
const CLIENTS: u32 = 32;
/// Clients of bulk transfers.
const BULK_CLIENTS: u32 = 4;
/// Requests a second at which latency is measured.
pub const PACE: u32 = 2000;
/// One request in so many may fail.
const FAILURES: u64 = 1000;
/// Packets of a connection that come from the client at the least: its opening, its request with the
/// acknowledgement of the node's, and its end.
const CLIENT_PACKETS: u64 = 3;
/// How long clients may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before a phase is measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long each phase is measured.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// New connections, requests, and each way of bulk transfer.
    pub phase: Duration,
    /// Requests at a steady rate, and the flood.
    pub long: Duration,
}

/// What a phase came to.
#[derive(Clone, Debug, Default)]
struct Phase {
    seconds: f64,
    done: u64,
    bytes: u64,
    /// The load balancer's CPU time.
    lb: Duration,
    /// Seconds of CPU time of the whole machine.
    machine: f64,
    /// What requests on connections that stay took, in microseconds.
    times: Figures,
}

impl Phase {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }

    /// Microseconds of the load balancer's CPU for one of so many.
    fn lb_micros_per(&self, count: f64) -> f64 {
        self.lb.as_secs_f64() * 1e6 / count
    }
}

/// All phases of a contender once; `object` has the benchmark's programs.
///
/// # Errors
/// If requests fail, a node gets nothing, or the traffic does not take the way that it is to take.
pub fn round(contender: Contender, object: &[u8], lengths: Lengths, stop: &Stop) -> Result<Round> {
    let mut stage = Stage::build(contender, stop)?;
    let mut run = |work, clients, length| measure(&mut stage, work, clients, length, stop);
    let connections = run(Work::Connections, CLIENTS, lengths.phase)?;
    let requests = run(Work::Requests, CLIENTS, lengths.phase)?;
    let paced = run(Work::Paced(PACE), CLIENTS, lengths.long)?;
    let down = run(Work::Download, BULK_CLIENTS, lengths.phase)?;
    let up = run(Work::Upload, BULK_CLIENTS, lengths.phase)?;
    let rate = paced.per_second(paced.done);
    ensure!((rate / f64::from(PACE) - 1.0).abs() < 0.1, "{rate:.0} requests/s, not {PACE}");
    let mega = |phase: &Phase| phase.bytes as f64 / 1e6;
    let mut flood = None;
    if contender.forwards_packets() {
        flood = Some(flood::run(&mut stage, object, lengths.long, stop)?);
    }
    Ok(Round {
        connections_per_second: connections.per_second(connections.done),
        lb_us_per_connection: connections.lb_micros_per(connections.done as f64),
        requests_per_second: requests.per_second(requests.done),
        lb_us_per_request: requests.lb_micros_per(requests.done as f64),
        download_mb_per_second: mega(&down) / down.seconds,
        lb_us_per_downloaded_mb: down.lb_micros_per(mega(&down)),
        upload_mb_per_second: mega(&up) / up.seconds,
        lb_us_per_uploaded_mb: up.lb_micros_per(mega(&up)),
        latency_p50_us: paced.times.median(),
        latency_p99_us: paced.times.quantile(0.99),
        lb_us_per_paced_request: paced.lb_micros_per(paced.done as f64),
        machine_us_per_paced_request: paced.machine * 1e6 / paced.done as f64,
        packets: flood.map(|flood| Packets {
            lb_ns_per_packet: flood.lb.as_secs_f64() * 1e9 / flood.forwarded as f64,
            packets_per_second: flood.forwarded as f64 / flood.seconds,
        }),
    })
}

/// Loads a contender.
fn measure(
    stage: &mut Stage,
    work: Work,
    clients: u32,
    length: Duration,
    stop: &Stop,
) -> Result<Phase> {
    let topology = &stage.topology;
    let (received, _) = packets(&topology.lb, INTERFACE)?;
    let load = Load::start(&topology.client, &stage.targets, work, clients)?;
    let tally = &load.tally;
    // Openings may get lost in what is left of the phase before.
    let deadline = Moment::now().after(PATIENCE);
    while tally.begun.load(Relaxed) < u64::from(clients) {
        ensure!(Moment::now() < deadline, "not all clients of {work:?} are connected");
        stop.wait(WARM_UP / 10)?;
    }
    stop.wait(WARM_UP)?;
    let (done, bytes) = (tally.done.load(Relaxed), tally.bytes.load(Relaxed));
    let skipped = tally.times.lock().unwrap_or_else(PoisonError::into_inner).len();
    let (begin, lb) = (Moment::now(), stage.lb_time()?);
    let machine = machine_busy(begin)?;
    stop.wait(length)?;
    let end = Moment::now();
    let times = tally.times.lock().unwrap_or_else(PoisonError::into_inner).split_off(skipped);
    let phase = Phase {
        seconds: end.since(begin).as_secs_f64(),
        done: tally.done.load(Relaxed) - done,
        bytes: tally.bytes.load(Relaxed) - bytes,
        machine: machine_busy(end)? - machine,
        lb: stage.lb_time_since(lb)?,
        times: times.into_iter().map(|nanos| nanos as f64 / 1e3).collect(),
    };
    well(tally, work)?;
    let received = packets(&topology.lb, INTERFACE)?.0 - received;
    let needed = tally.done.load(Relaxed) * CLIENT_PACKETS;
    if work == Work::Connections && stage.contender == Contender::Direct {
        ensure!(received < needed / 100, "{received} packets came by the load balancer");
    } else if work == Work::Connections {
        ensure!(received >= needed, "only {received} packets came by the load balancer");
    }
    stage.check()?;
    Ok(phase)
}

/// Fails if something was not answered, or not by every node that is to answer and no other.
fn well(tally: &Tally, work: Work) -> Result<()> {
    let (done, failed) = (tally.done.load(Relaxed), tally.failed.load(Relaxed));
    if matches!(work, Work::Download | Work::Upload) {
        ensure!(failed == 0, "{failed} connections of {work:?} failed");
        ensure!(tally.bytes.load(Relaxed) > 0, "{work:?} brought nothing");
        return Ok(());
    }
    ensure!(failed * FAILURES <= done, "{failed} of {work:?} failed, {done} were answered");
    for node in NodeIndex::all() {
        let answered = tally.nodes[node.index()].load(Relaxed) > 0;
        let serves = Stage::nodes().any(|serving| serving == node);
        ensure!(answered == serves, "{}: answered: {answered}, {work:?}", node.node().name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(done: u64, failed: u64, nodes: &[&str]) -> Tally {
        let tally = Tally::default();
        tally.done.store(done, Relaxed);
        tally.failed.store(failed, Relaxed);
        for name in nodes {
            let node = NodeIndex::named(name).expect("a node");
            tally.nodes[node.index()].store(1, Relaxed);
        }
        tally
    }

    #[test]
    fn failures_are_bounded() {
        let all = ["a1", "a2", "a3"];
        assert!(well(&tally(3000, 3, &all), Work::Connections).is_ok());
        assert!(well(&tally(3000, 4, &all), Work::Connections).is_err());
        assert!(well(&tally(0, 1, &all), Work::Requests).is_err());
        assert!(well(&tally(0, 0, &[]), Work::Download).is_err());
    }

    #[test]
    fn every_node_that_serves_answers_and_no_other() {
        assert!(well(&tally(10, 0, &["a1", "a2"]), Work::Connections).is_err());
        assert!(well(&tally(10, 0, &["a1", "a2", "a3", "b1"]), Work::Requests).is_err());
    }

    #[test]
    fn figures_are_per_second_and_per_piece() {
        let phase = Phase { seconds: 2.0, lb: Duration::from_millis(3), ..Phase::default() };
        assert!((phase.per_second(7) - 3.5).abs() < 1e-9);
        assert!((phase.lb_micros_per(1000.0) - 3.0).abs() < 1e-9);
    }
}
