//! An agent and an asker that mean well.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    time::Instant,
};

use super::{super::*, bench::*};
use crate::{
    config::Source,
    decide::{MissReason, Outcome},
    survey::Announcement,
};

fn said(from: IpAddr, survival: bool) -> Announcement {
    Announcement { from, server: SERVER, survival }
}

#[tokio::test]
async fn survival_non_survival_and_nobody() {
    let node = Node::start(lo(2), Duration::from_millis(1));
    let (asker, _announcements) = asker(&[(lo(2), SERVER)], None);
    // Until the first check has succeeded the answer is no.
    until(&asker, node.at, Outcome::Hit).await;
    remove(&node.up_file());
    until(&asker, node.at, Outcome::NotWorking).await;
    let at = node.at;
    let counts = node.end().await;
    assert_eq!(counts.refused.total(), 0);
    assert_eq!((counts.questions, counts.answers), (asker.counts().questions, counts.questions));
    // The host is there and nobody listens: it says so.
    assert_eq!(ask(&asker, at, LONG).await, Outcome::Miss(MissReason::Refused));
    assert_eq!(asker.counts().refused.total(), 0);
    // Somebody listens and says nothing.
    let _silent = UdpSocket::bind(at).await.expect("the agent's address");
    let timeout = Duration::from_millis(50);
    assert_eq!(ask(&asker, at, timeout).await, Outcome::Miss(MissReason::Timeout));
}

#[tokio::test]
async fn a_change_is_announced_and_passed_on_once() {
    let node = Node::start(lo(1), Duration::ZERO);
    let servers = [(lo(1), SERVER)];
    let (first, mut to_first) = asker(&servers, None);
    until(&first, node.at, Outcome::Hit).await;
    while to_first.try_recv().is_ok() {} // its survival
    // A load balancer that is restarted is another one.
    let (second, mut to_second) = asker(&servers, None);
    until(&second, node.at, Outcome::Hit).await;
    let before = [first.counts(), second.counts()];
    remove(&node.up_file());
    assert_eq!(within(to_first.recv()).await, Some(said(lo(1), false)));
    assert_eq!(within(to_second.recv()).await, Some(said(lo(1), false)));
    for (asker, before) in [&first, &second].into_iter().zip(before) {
        within(async {
            while asker.counts().answers < before.answers + u64::from(COPIES) {
                time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let after = asker.counts();
        assert_eq!(after.announcements, before.announcements + 1);
        assert_eq!((after.questions, after.refused.total()), (before.questions, 0));
    }
    assert!(to_first.try_recv().is_err() && to_second.try_recv().is_err());
    let counts = node.end().await;
    assert!(counts.announcements >= 2 * u64::from(COPIES), "{counts:?}");
}

#[tokio::test]
async fn the_end_is_announced_first_and_then_answered_for_a_while() {
    let node = Node::start(lo(1), Duration::from_secs(2));
    let (asker, mut announcements) = asker(&[(lo(1), SERVER)], None);
    until(&asker, node.at, Outcome::Hit).await;
    while announcements.try_recv().is_ok() {}
    node.order(Order::End).await;
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), false)));
    assert_eq!(ask(&asker, node.at, LONG).await, Outcome::NotWorking);
    within(node.task).await.expect("no panic");
    assert_eq!(ask(&asker, node.at, LONG).await, Outcome::Miss(MissReason::Refused));
}

#[tokio::test]
async fn drained_by_order_and_by_file() {
    let node = Node::start(lo(1), Duration::ZERO);
    let (asker, mut announcements) = asker(&[(lo(1), SERVER)], None);
    until(&asker, node.at, Outcome::Hit).await;
    while announcements.try_recv().is_ok() {}
    node.order(Order::Drain).await;
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), false)));
    assert_eq!(ask(&asker, node.at, LONG).await, Outcome::NotWorking);
    node.order(Order::Undrain).await;
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), true)));
    std::fs::write(node.drain_file(), "").expect("a file");
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), false)));
    assert_eq!(ask(&asker, node.at, LONG).await, Outcome::NotWorking);
    remove(&node.drain_file());
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), true)));
    assert_eq!(ask(&asker, node.at, LONG).await, Outcome::Hit);
}

#[tokio::test]
async fn several_servers_and_several_datagrams() {
    let service = TcpListener::bind((lo(1), 0)).await.expect("a port");
    let port = service.local_addr().expect("its address").port();
    tokio::spawn(async move { while service.accept().await.is_ok() {} });
    let server = |n| {
        let check = format!("{{ kind = \"tcp\", port = {port} }}");
        let times = "interval = \"1h\", timeout = \"1m\"";
        format!("{{ number = {n}, port = 80, check = {check}, {times} }}")
    };
    let servers: Vec<_> = (1..=400).map(server).collect();
    let config = format!("servers = [{}]", servers.join(", "));
    let node = Node::of(&config, lo(1), Duration::ZERO);
    let servers: Vec<_> = (1..=400).map(|number| Server { number, port: 80 }).collect();
    let all: Vec<_> = servers.iter().map(|server| (lo(1), *server)).collect();
    let (asker, _announcements) = asker(&all, None);
    within(async {
        loop {
            let before = asker.counts();
            let outcomes = asker.ask(node.at, &servers, LONG).await;
            assert!(outcomes.iter().map(|(server, _)| server).eq(&servers));
            if outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Hit) {
                assert!(asker.counts().answers >= before.answers + 3);
                break;
            }
        }
    })
    .await;
}

/// The agent's address for all of 127.0.0.0/8: answers must come from the one that was asked.
#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let node = Node::start(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Duration::ZERO);
    let servers = [(lo(1), SERVER), (lo(5), SERVER), (lo(6), SERVER)];
    let (asker, mut announcements) = asker(&servers, Some(Source::Address(lo(9))));
    for last in [5, 6, 1] {
        let at = SocketAddr::new(lo(last), node.at.port());
        until(&asker, at, Outcome::Hit).await;
    }
    while announcements.try_recv().is_ok() {}
    remove(&node.up_file());
    let mut from = Vec::new();
    for _ in servers {
        from.extend(within(announcements.recv()).await.map(|announcement| announcement.from));
    }
    from.sort();
    assert_eq!(from, [lo(1), lo(5), lo(6)]);
}

#[tokio::test]
async fn over_ipv6() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let node = Node::start(ip, Duration::ZERO);
    let (asker, mut announcements) = asker(&[(ip, SERVER)], None);
    until(&asker, node.at, Outcome::Hit).await;
    while announcements.try_recv().is_ok() {}
    node.order(Order::Drain).await;
    assert_eq!(within(announcements.recv()).await, Some(said(ip, false)));
    let at = node.at;
    node.end().await;
    assert_eq!(ask(&asker, at, LONG).await, Outcome::Miss(MissReason::Refused));
}

#[tokio::test]
async fn one_question_for_all_by_broadcast_and_by_multicast() {
    let check = "{ kind = \"exec\", command = [\"test\", \"-e\", \"UP\"] }";
    let server = format!("{{ number = 7, port = 443, check = {check}, timeout = \"30s\" }}");
    let config = format!("servers = [{server}]\ngroup = \"239.255.74.11\"\ninterface = \"lo\"");
    let node = Node::of(&config, IpAddr::V4(Ipv4Addr::UNSPECIFIED), Duration::ZERO);
    let group = IpAddr::V4(Ipv4Addr::new(239, 255, 74, 11));
    let everyone = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255));
    let sources = [(everyone, None), (group, Some(Source::Address(lo(1))))];
    for (to, source) in sources {
        let (here, absent) = ((lo(1), SERVER), (lo(77), SERVER));
        let (asker, _announcements) = asker(&[here, absent], source);
        let to = SocketAddr::new(to, node.at.port());
        within(async {
            loop {
                let outcomes = asker.ask_all(to, &[here, absent], Duration::from_secs(1)).await;
                let [(who, outcome), missing] = outcomes[..] else { panic!("{outcomes:?}") };
                assert_eq!(who, here);
                assert_eq!(missing, (absent, Outcome::Miss(MissReason::Timeout)));
                match outcome {
                    Outcome::Hit => break,
                    other => assert_ne!(other, Outcome::Miss(MissReason::Local)),
                }
            }
        })
        .await;
        assert_eq!(asker.counts().refused.total(), 0);
    }
}

/// A service that is stopped has its connections accepted by the kernel, and answers nothing.
#[tokio::test]
async fn a_stalled_service_is_non_survival_within_its_timeout() {
    let service = TcpListener::bind((lo(1), 0)).await.expect("a port");
    let port = service.local_addr().expect("its address").port();
    let serve = tokio::spawn(async move {
        loop {
            let (mut stream, _) = service.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            if read.is_ok() {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            if std::mem::take(&mut *STALL.lock().expect("no panic")) {
                let _stalled = (&service, stream);
                std::future::pending::<()>().await;
            }
        }
    });
    static STALL: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    let check = format!("{{ kind = \"http\", port = {port} }}");
    let config = format!("servers = [{{ number = 7, port = 443, check = {check} }}]");
    let node = Node::of(&config, lo(1), Duration::ZERO);
    let (asker, mut announcements) = asker(&[(lo(1), SERVER)], None);
    until(&asker, node.at, Outcome::Hit).await;
    while announcements.try_recv().is_ok() {}
    *STALL.lock().expect("no panic") = true;
    let since = Instant::now();
    assert_eq!(within(announcements.recv()).await, Some(said(lo(1), false)));
    // Two intervals until the service has stalled and is checked again, and the timeout; the rest
    // is for a busy machine.
    assert!(since.elapsed() < Duration::from_millis(900) + Duration::from_secs(10));
    serve.abort();
}
