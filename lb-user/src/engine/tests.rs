//! The engine with real time and real sockets of loopback. What it decides is tested in
//! `schedule`; here it is only whether it does it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use super::{Engine, Report, Settings};
use crate::{
    config::{Exchange, Health, Probe, Target, Via},
    decide::{MissReason, Outcome, TargetId},
};

const DEADLINE: Duration = Duration::from_secs(30);

fn target(at: SocketAddr) -> Target {
    let health = Arc::new(Health {
        probe: Probe::Tcp(Exchange::default()),
        port: None,
        interval: Duration::from_millis(100),
        fast_interval: Duration::from_millis(50),
        timeout: Duration::from_millis(100),
        fall: 3,
        rise: 2,
        source: None,
        via: Via::Direct,
    });
    Target { health, at, server: None, vip: None }
}

fn start(targets: Vec<Target>) -> (Engine, Receiver<Report>) {
    let (send, reports) = channel();
    let settings = Settings { freeze: Duration::ZERO, survey_key: None, epoch: 1 };
    let engine = Engine::start(targets, settings, move |report| send.send(report).is_ok());
    (engine.expect("a thread"), reports)
}

/// Waits until a target has this outcome.
fn until(reports: &Receiver<Report>, target: u32, wanted: Outcome) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match reports.recv_timeout(left).expect("an outcome in time") {
            Report::Checked(outcomes) if outcomes.contains(&(TargetId(target), wanted)) => return,
            Report::Checked(_) | Report::Alarm(_) | Report::Doubt(_) => {}
        }
    }
}

/// A listener, and its address; the port is free once the listener is gone.
fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let at = listener.local_addr().expect("its address");
    (listener, at)
}

#[test]
fn it_sees_who_listens_and_who_does_not() {
    let ((living, at), (gone, nobody)) = (listener(), listener());
    drop(gone);
    let refused = Outcome::Miss(MissReason::Refused);
    let (engine, reports) = start(vec![target(at), target(nobody)]);
    until(&reports, 0, Outcome::Hit);
    until(&reports, 1, refused);
    drop(living);
    until(&reports, 0, refused);
    let deadline = Instant::now() + DEADLINE;
    while engine.figures().misses < 3 {
        assert!(Instant::now() < deadline, "{:?}", engine.figures());
        reports.recv_timeout(DEADLINE).expect("it goes on");
    }
    assert_eq!(engine.figures().targets, 2);
}

#[test]
fn behind_a_way_that_is_down_nothing_is_counted() {
    let (gone, nobody) = listener();
    drop(gone);
    let (engine, reports) = start(vec![target(nobody)]);
    until(&reports, 0, Outcome::Miss(MissReason::Refused));
    engine.path(nobody.ip(), false);
    until(&reports, 0, Outcome::Miss(MissReason::Starved));
    engine.path(nobody.ip(), true);
    until(&reports, 0, Outcome::Miss(MissReason::Refused));
}

#[test]
fn its_end_is_the_end_of_all_checks() {
    let (_living, at) = listener();
    let (engine, reports) = start(vec![target(at)]);
    until(&reports, 0, Outcome::Hit);
    drop(engine);
    // What it said before it ended, and then nothing: the sender is gone.
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        match reports.recv_timeout(DEADLINE) {
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    panic!("it goes on");
}
