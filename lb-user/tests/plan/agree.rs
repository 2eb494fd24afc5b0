//! What `explain` reasons about is what the packet's way does: both agree on every flow.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lb_common::NodeId;
use lb_user::{
    config::{self, Protocol},
    dataplane::{memory::Memory, writer::Writer},
    decide::{Event, Host, MissReason, Model, NextHop, Outcome, State, TargetId, flow},
    explain::{self, Asked, Flow, Source},
    secret,
};

use crate::{SIX, examples};

/// A stream of numbers.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        lb_common::hash::mix(state)
    }
}

/// What a daemon knows when every `one_in`-th node is down, by chance.
fn state(model: &Arc<Model>, one_in: u64, mut next: impl FnMut() -> u64) -> State {
    let mut state = State::with_model(Arc::clone(model), Duration::ZERO);
    let events: Vec<Event> = (0..model.pools.targets.len() as u32)
        .map(|target| {
            let down = one_in != 0 && next().is_multiple_of(one_in);
            let outcome = if down { Outcome::Miss(MissReason::Refused) } else { Outcome::Hit };
            Event::Checked { target: TargetId(target), outcome }
        })
        .collect();
    let hop = |node: NodeId| NextHop {
        ifindex: 2,
        src_mac: [2; 6],
        dst_mac: [4; 6],
        mtu: 1500,
        tags: [0; 2],
        // Of the version that it must be, for tunnels.
        source: Some(model.node(node.index()).address),
    };
    let ids = (0..model.nodes.len()).filter_map(NodeId::new);
    let hops = ids.map(|node| Event::Resolved { node, hop: Some(hop(node)) });
    let host = [Event::Host(Host::default())];
    state.step(Duration::ZERO, &events.into_iter().chain(hops).chain(host).collect::<Vec<_>>());
    state
}

/// A flow from a chance client to a chance service; few go nowhere.
fn flow_to(model: &Model, next: &mut impl FnMut() -> u64) -> Flow {
    let services = &model.config.services;
    let service = &services[next() as usize % services.len()];
    let client = match service.address {
        IpAddr::V4(_) => Ipv4Addr::from(next() as u32).into(),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from_bits(u128::from(next()) << 64 | 1)),
    };
    let source = SocketAddr::new(client, next() as u16);
    let ports = u64::from(service.ports.last() - service.ports.first()) + 1;
    let port = service.ports.first() + (next() % ports) as u16;
    let port = if next().is_multiple_of(16) { next() as u16 } else { port };
    let other = match service.protocol {
        Protocol::Tcp => Protocol::Udp,
        Protocol::Udp => Protocol::Tcp,
    };
    let protocol = if next().is_multiple_of(16) { other } else { service.protocol };
    Flow::new(protocol, source, (service.address, port).into()).expect("one IP version")
}

#[test]
fn the_reasons_are_those_of_the_choice() {
    let mut files = examples();
    files.push(SIX.into());
    let mut moved = 0;
    for (seed, file) in (0..).zip(files) {
        let config = config::load(&file).expect("a good configuration").config;
        let model = Arc::new(Model::new(Arc::new(config)));
        let mut next = numbers(seed);
        // None down, then one in so many.
        for one_in in [0, 8, 4, 3, 2, 2, 1] {
            let state = state(&model, one_in, &mut next);
            let view = state.view();
            let memory = Memory::anonymous().expect("memory");
            let secret = secret::expand(&[seed as u8; 16], model.config.lb.hash);
            memory.secret.set(0, secret);
            let intent = view.published.expect("a plan");
            Writer::adopt(&memory).commit(&memory, intent).expect("a commit");
            for _ in 0..400 {
                let flow = flow_to(&model, &mut next);
                moved += u32::from(agree(&view, &memory, &flow));
            }
        }
    }
    assert!(moved > 1000, "{moved} flows were away from home");
}

/// Asserts that both agree; returns whether the flow is not served by its home.
fn agree(view: &lb_user::decide::View<'_>, memory: &Memory, flow: &Flow) -> bool {
    let answer = explain::answer(view, memory, Source::Config, flow, Asked::Opener).explained;
    assert!(!answer.reason.is_empty(), "{flow}");
    let found = match explain::find(memory, flow, Asked::Opener) {
        Ok(found) => found,
        Err(_) => {
            let nothing = explain::Explained {
                flow: flow.to_string(),
                reason: answer.reason.clone(),
                ..Default::default()
            };
            assert_eq!(answer, nothing);
            return false;
        }
    };
    let decision = view.decision.expect("a decision");
    let service = found.service.index();
    let hash = memory.secret.get(0).expect("the secret").hash(&found.flow);
    let path = flow::follow(view.model, decision, service, hash);
    let chosen = found.choice.ok();
    assert_eq!(chosen.map(|c| c.to.node.index()), path.node, "{flow}");
    assert_eq!(chosen.map(|c| c.node_slot), path.node_slot, "{flow}");
    assert_eq!(chosen.map(|c| c.to.cluster.index()), path.table, "{flow}");
    assert!(chosen.is_none_or(|c| c.service_slot == path.slot), "{flow}");

    let name = |seat: usize| {
        let seat = view.model.seats(service)[seat];
        view.model.config.clusters[seat.cluster].name.clone()
    };
    let home = path.passed.first().map(|&(seat, _)| seat).or(path.carrier).map(name);
    assert_eq!((answer.slot, &answer.home), (Some(path.slot), &home), "{flow}");
    assert_eq!(answer.carrier, path.carrier.map(name), "{flow}");
    assert_eq!(answer.node, path.node.map(|node| view.model.node(node).name.clone()), "{flow}");
    for (seat, _) in &path.passed {
        let says = format!("{} does not serve it", name(*seat));
        assert!(answer.reason.contains(&says), "{flow}: {}", answer.reason);
    }
    !path.passed.is_empty() || !path.nodes_passed.is_empty()
}
