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

use tokio::sync::mpsc::unbounded_channel;

use super::{
    Engine, Report, Settings,
    ask::{Asking, Heard},
};
use crate::{
    config::{Exchange, Health, Probe, Server, Source, Survey, SurveyKey, SurveySend, Target, Via},
    decide::{MissReason, Outcome, TargetId},
    survey::Announcement,
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

fn settings() -> Settings {
    Settings { freeze: Duration::ZERO, survey_key: None, epoch: 1, known: vec![] }
}

fn start(targets: Vec<Target>) -> (Engine, Receiver<Report>) {
    let (send, reports) = channel();
    let engine = Engine::start(targets, settings(), move |report| send.send(report).is_ok());
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
            Report::Ended => panic!("it ended"),
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
    while engine.figures().checked.misses < 3 {
        assert!(Instant::now() < deadline, "{:?}", engine.figures());
        reports.recv_timeout(DEADLINE).expect("it goes on");
    }
    assert_eq!(engine.figures().checked.targets, 2);
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

#[tokio::test]
async fn an_announcement_is_an_outcome_for_those_who_ask_from_where_it_came_to() {
    let server = Server { number: 1, port: 80 };
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 7411));
    let from = |source: Option<Source>| {
        let Target { health, .. } = target(at);
        let probe = Probe::Survey(Survey { send: SurveySend::Unicast });
        let health = Arc::new(Health { probe, source, ..Health::clone(&health) });
        Target { health, at, server: Some(server), vip: None }
    };
    let loopback = Some(Source::Address(Ipv4Addr::LOCALHOST.into()));
    let targets = [from(None), from(loopback.clone())];
    let mut settings = settings();
    settings.survey_key = Some(SurveyKey([1; 32]));
    let (heard, _announcements) = unbounded_channel();
    let asking = Asking::new(&targets, &settings, heard).await.expect("two sockets");
    let said = Announcement { from: at.ip(), server, survival: true };
    for (source, of) in [(None, 0), (loopback, 1)] {
        let about: Vec<_> = asking.about(&Heard { source, said }).collect();
        assert_eq!(about, [TargetId(of)]);
    }
}

#[test]
fn a_thread_that_fails_says_so() {
    let (_living, at) = listener();
    let (send, reports) = channel();
    let engine = Engine::start(vec![target(at)], settings(), move |report| {
        assert_eq!(report, Report::Ended, "made to fail");
        send.send(report).is_ok()
    });
    assert_eq!(reports.recv_timeout(DEADLINE), Ok(Report::Ended));
    drop(engine.expect("a thread"));
}
