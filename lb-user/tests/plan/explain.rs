//! `explain` over configurations and over a daemon's socket.

use std::{fs, sync::Arc, time::Duration};

use lb_common::NodeId;
use lb_user::{
    config,
    control::{Request, Socket},
    dataplane::{memory::Memory, writer::Writer},
    decide::{Event, Model, NextHop, Outcome, State, TargetId},
    explain::{self, Asked, Source},
    secret,
};
use serde::Deserialize;

use crate::{SIX, understudy, warnings};

/// What `explain --format json` prints for a flow; a field more or less is an error.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Line {
    flow: String,
    service: Option<String>,
    slot: Option<u32>,
    home: Option<String>,
    carrier: Option<String>,
    node_slot: Option<u32>,
    node: Option<String>,
    state: Option<String>,
    base: Option<String>,
    pin: Option<String>,
    epoch: u64,
    reason: String,
}

fn lines(stdout: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Many clients of the service multi-standby.
fn flows(count: u32) -> String {
    let flow = |i: u32| format!("tcp 198.51.{}.{}:{} 192.0.2.10:443\n", i >> 8, i & 255, 1024 + i);
    (0..count).map(flow).collect()
}

fn explain(args: &[&str], input: &str) -> Vec<Line> {
    let all = [&["explain", "--config", SIX, "--format", "json", "--flows", "-"], args].concat();
    let output = understudy(&all, input);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), &*warnings()), "{args:?}");
    lines(&output.stdout)
}

#[test]
fn flows_move_only_if_they_must_and_take_the_way_that_is_told() {
    let input = flows(600);
    let up = explain(&[], &input);
    let down = explain(&["--down-cluster", "A", "--down", "X/x1", "--down", "B/b2"], &input);
    assert_eq!(up.len(), 600);
    for (up, down) in up.iter().zip(&down) {
        assert_eq!((&up.flow, &up.service, up.slot), (&down.flow, &down.service, down.slot));
        assert_eq!((&up.home, &up.carrier), (&down.home, &up.home));
        let [home, node] = [&up.home, &up.node].map(|name| name.as_deref().expect("a name"));
        let carrier = down.carrier.as_deref().expect("a carrier");
        match (home, node) {
            ("A", _) => {
                assert!(["X", "Y"].contains(&carrier) && down.node.as_deref() != Some("x1"));
                let says = ["home A does not serve it", "needs 2", &format!("{carrier} serves it")];
                assert!(says.iter().all(|words| down.reason.contains(words)), "{}", down.reason);
            }
            (_, "b2") => {
                assert!(carrier == "B" && down.node.as_deref() != Some("b2"));
                assert!(down.reason.contains("node b2 does not (down)"), "{}", down.reason);
            }
            _ => assert_eq!((home, &up.node), (carrier, &down.node)),
        }
        assert_eq!((up.epoch, down.epoch), (0, 0));
    }
    let away = up.iter().zip(&down).filter(|(up, down)| up.node != down.node).count();
    assert!((300..420).contains(&away), "{away} of 600 moved, 360 should");
}

#[test]
fn what_goes_nowhere_has_nulls_and_a_reason() {
    let cases = [
        ("tcp 10.0.0.1:1 192.0.2.99:443", "no service has this address"),
        ("tcp 10.0.0.1:1 192.0.2.10:80", "no service has this protocol and port"),
        ("udp 10.0.0.1:1 192.0.2.10:443", "no service has this protocol and port"),
        ("tcp [2001:db8::1]:1 [2001:db8::2]:443", "no service has this address"),
    ];
    for (flow, why) in cases {
        let all = explain(&[], flow);
        let [line] = &all[..] else { panic!("{flow}: {all:?}") };
        assert!(line.reason.contains(why), "{line:?}");
        let places = (&line.service, line.slot, &line.home, &line.carrier, line.node_slot);
        assert_eq!((places, &line.node), ((&None, None, &None, &None, None), &None), "{flow}");
    }
    let all: Vec<&str> =
        ["A", "B", "C", "X", "Y", "Z"].iter().flat_map(|c| ["--down-cluster", c]).collect();
    let dropped = &explain(&all, "tcp 10.0.0.1:1 192.0.2.10:443")[0];
    assert!(dropped.reason.contains("dropped: no cluster may serve"), "{dropped:?}");
    assert_eq!((&dropped.carrier, dropped.node_slot, &dropped.node), (&None, None, &None));
    assert_eq!(dropped.service.as_deref(), Some("multi-standby"));
}

#[test]
fn bad_lines_are_named_and_the_others_answered() {
    let text = "# clients\n\ntcp 10.0.0.1:1 192.0.2.10:443\n  # more\n\
                tcp 10.0.0.1 192.0.2.10:443\ntcp 10.0.0.2:2 192.0.2.10:443 # the second\nnonsense\n";
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("some.flows");
    fs::write(&path, text).expect("a file");
    let file = path.to_str().expect("a path in UTF-8");
    for (name, given, input) in [(file, file, ""), ("standard input", "-", text)] {
        let args = ["explain", "--config", SIX, "--format", "json", "--flows", given];
        let output = understudy(&args, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in
            [":5: \"10.0.0.1\" is not ADDRESS:PORT", ":7: 1 words", ": 2 lines are no flows"]
        {
            assert!(said.contains(&format!("{name}{words}")), "{words}: {said}");
        }
        let flows: Vec<String> = lines(&output.stdout).into_iter().map(|line| line.flow).collect();
        let good = [1, 2].map(|i| format!("tcp 10.0.0.{i}:{i} 192.0.2.10:443"));
        assert_eq!(flows, good, "{given}");
    }
}

#[test]
fn the_text_tells_each_step() {
    let args = ["explain", "--config", SIX, "--down-cluster", "A", "--flows", "-"];
    let output = understudy(&args, &flows(40));
    let text = String::from_utf8(output.stdout).expect("text");
    let stories: Vec<&str> = text.split("\ntcp ").collect();
    assert_eq!(stories.len(), 40);
    let carried = stories.iter().filter(|story| story.contains("\n  carrier    "));
    assert!(carried.clone().count() > 5);
    for story in carried {
        for words in
            ["  service    multi-standby, slot ", "  home       A: unhealthy, 0 of 4 alive"]
        {
            assert!(story.contains(words), "{words}: {story}");
        }
        for words in ["  not asked  B: healthy", "  not asked  Z: ", "  node       "] {
            assert!(story.contains(words), "{words}: {story}");
        }
    }
}

/// A daemon's side of the socket, without a kernel: the way to a node is not known, so nobody is
/// sent there, and the epoch is 3.
#[test]
fn a_daemon_is_asked_by_its_socket() {
    let config = Arc::new(config::load(SIX).expect("a good configuration").config);
    let model = Arc::new(Model::new(Arc::clone(&config)));
    let mut state = State::with_model(Arc::clone(&model), Duration::ZERO);
    let hop = NextHop {
        ifindex: 2,
        src_mac: [2; 6],
        dst_mac: [4; 6],
        mtu: 1500,
        tags: [0; 2],
        source: None,
    };
    let ids = || (0..model.nodes.len()).filter_map(NodeId::new);
    let name = |node: NodeId| model.node(node.index()).name.as_str();
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    let hits = targets.map(|target| Event::Checked { target, outcome: Outcome::Hit });
    let hops = ids().filter(|node| name(*node) != "b1");
    let hops = hops.map(|node| Event::Resolved { node, hop: Some(hop) });
    let now = state.deadline().expect("an end of waiting");
    state.step(now, &hits.chain(hops).collect::<Vec<_>>());
    let memory = Memory::anonymous().expect("memory");
    memory.secret.set(0, secret::expand(&config.lb.secret.expect("a secret"), config.lb.hash));
    let mut writer = Writer::adopt(&memory);
    for _ in 0..3 {
        let intent = state.view().published.expect("a plan");
        writer.graced(writer.epoch());
        writer.commit(&memory, intent).expect("a commit");
    }

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let socket = path.to_str().expect("a path in UTF-8").to_owned();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tokio");
    let (send, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let listening = runtime.block_on(async { Socket::listen(&path) }).expect("a socket");
    runtime.spawn(listening.serve(send));
    std::thread::spawn(move || {
        while let Some((request, reply)) = asked.blocking_recv() {
            let Request::Explain { flows, established: false } = request else {
                panic!("{request:?}")
            };
            let view = state.view();
            let one = |flow: &String| {
                let flow = flow.parse().expect("a flow");
                explain::answer(&view, &memory, Source::Daemon, &flow, Asked::Opener)
            };
            let answers: Vec<_> = flows.iter().map(one).collect();
            reply.send(serde_json::to_string(&answers).expect("JSON")).expect("who asked");
        }
    });
    let args = ["explain", "--socket", &socket, "--format", "json", "--flows", "-"];
    let output = understudy(&args, &flows(300));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
    let without = ["--down", "B/b1"];
    let (daemon, config) = (lines(&output.stdout), explain(&without, &flows(300)));
    assert_eq!(daemon.len(), 300);
    for (daemon, mut config) in daemon.into_iter().zip(config) {
        config.epoch = 3;
        assert_ne!(daemon.node.as_deref(), Some("b1"));
        // Why b1 is passed over is told in other words.
        config.reason.clone_from(&daemon.reason);
        assert_eq!(daemon, config);
    }
}
