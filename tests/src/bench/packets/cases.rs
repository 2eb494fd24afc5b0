//! What is measured: which packets, with which tables, and what it may cost.

use lb_common::{Forward, Reason};

use super::{
    frames::Kind,
    plans::{Moved, Plan},
};

/// A figure to reach. All are nanoseconds over the first floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// None: it is only told.
    Told,
    /// So many at most.
    Ns(f64),
    /// So many times what another case costs.
    Times(f64, &'static str),
    /// So many times what another case costs, or so many more, whichever is more.
    TimesOrMore(f64, f64, &'static str),
    /// So many more than another case at most.
    More(f64, &'static str),
}

/// Pins there are before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pins {
    /// Whatever there is.
    Any,
    /// So many, of the flows that are measured.
    Of(u64),
    /// None, and only so many packets.
    NoneAndFew(u64),
}

/// A measurement.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What people read; unique.
    pub name: &'static str,
    /// The packets.
    pub kind: Kind,
    /// Of IPv6.
    pub v6: bool,
    /// Flows, chosen at random; 0: a new one for each packet.
    pub flows: u64,
    /// Services that get packets, chosen at random.
    pub hot: u64,
    /// How each packet ends.
    pub ends: Reason,
    /// Pins.
    pub pins: Pins,
    /// What it may cost.
    pub target: Target,
}

const TCP: Case = Case {
    name: "",
    kind: Kind::Tcp,
    v6: false,
    flows: 1,
    hot: 1,
    ends: Reason::ForwardTx,
    pins: Pins::Any,
    target: Target::Told,
};
const TCP6: Case = Case { v6: true, ..TCP };
/// Flows where it matters that they are not one.
const SOME: u64 = 10_000;
const ONE: &str = "ipip v4, 1 flow";
const STEADY: &str = "ipip v4, 100k flows";
const SERVICES_1: &str = "1 service, 10 nodes";

/// Tables, and what is measured with them.
pub type Group = (Plan, Vec<Case>);

/// All of them. `clean` is the flow of flow 0's frames.
#[must_use]
pub fn all(clean: lb_common::FlowHash) -> Vec<Group> {
    let plan = Plan::ONE;
    let v6 = Plan { v6: true, ..plan };
    let mut groups = vec![(plan, ipip()), (v6, ipip6())];
    groups.push((Plan { udp: true, ..plan }, vec![udp("UDP, ipip v4", false)]));
    groups.push((Plan { udp: true, ..v6 }, vec![udp("UDP, ipip v6", true)]));
    groups.extend(ways());
    groups.extend(sizes());
    groups.extend(windows(clean));
    groups
}

fn udp(name: &'static str, v6: bool) -> Case {
    Case { name, kind: Kind::Udp, v6, flows: SOME, ..TCP }
}

fn ipip() -> Vec<Case> {
    use Target::{Ns, Times};
    let not_vip = Case { ends: Reason::PassNotVip, target: Ns(5.0), kind: Kind::NotVip, ..TCP };
    vec![
        Case { name: ONE, target: Ns(32.0), ..TCP },
        Case { name: "ipip v4, 10k flows", flows: SOME, ..TCP },
        Case { name: STEADY, flows: 100_000, ..TCP },
        Case { name: "ipip v4, 500k flows", flows: 500_000, target: Times(1.2, ONE), ..TCP },
        Case {
            name: "ipip v4, new SYNs",
            kind: Kind::Syn,
            flows: 0,
            target: Times(1.2, ONE),
            ..TCP
        },
        Case { name: "not VIP, v4", flows: SOME, ..not_vip },
        Case { name: "not VIP, v6", v6: true, flows: SOME, ..not_vip },
        Case { name: "not VIP, ARP", kind: Kind::Arp, ends: Reason::PassNotIp, ..not_vip },
        Case { name: "ICMP relay, v4", kind: Kind::IcmpError, ends: Reason::ForwardIcmp, ..TCP },
        Case {
            name: "first fragment, no service",
            kind: Kind::FirstFragment,
            ends: Reason::PassNoService,
            ..TCP
        },
    ]
}

fn ipip6() -> Vec<Case> {
    vec![
        Case { name: "ipip v6, 1 flow", target: Target::Ns(42.0), ..TCP6 },
        Case { name: "ipip v6, 10k flows", flows: SOME, ..TCP6 },
        Case { name: "ipip v6, 100k flows", flows: 100_000, ..TCP6 },
        Case { name: "ipip v6, 500k flows", flows: 500_000, ..TCP6 },
        Case { name: "ipip v6, new SYNs", kind: Kind::Syn, flows: 0, ..TCP6 },
        Case { name: "ICMP relay, v6", kind: Kind::IcmpError, ends: Reason::ForwardIcmp, ..TCP6 },
    ]
}

fn ways() -> Vec<Group> {
    let one = |forward, v6, name, target| {
        let case = Case { name, v6, flows: SOME, target, ..TCP };
        (Plan { forward, v6, ..Plan::ONE }, vec![case])
    };
    let mut groups = vec![
        one(Forward::L2, false, "l2 v4", Target::Ns(18.0)),
        one(Forward::L2, true, "l2 v6", Target::Told),
        one(Forward::Gue, false, "gue v4", Target::Ns(45.0)),
        one(Forward::Gue, true, "gue v6", Target::Told),
        one(Forward::Nat, false, "nat v4, to the node", Target::Ns(40.0)),
        one(Forward::Nat, true, "nat v6, to the node", Target::Told),
    ];
    let reply = Case { kind: Kind::Reply, ends: Reason::ReplySent, ..TCP };
    let others = Case { kind: Kind::NotVip, ends: Reason::PassNotVip, flows: SOME, ..TCP };
    groups[4].1.push(Case { name: "nat v4, to the client", target: Target::Ns(40.0), ..reply });
    groups[4].1.push(Case { name: "not VIP, v4, nat there", ..others });
    groups[5].1.push(Case { name: "nat v6, to the client", v6: true, ..reply });
    let later = Case { kind: Kind::LaterFragment, ends: Reason::ForwardFragment, ..TCP };
    let fragments = vec![
        Case { name: "first fragment, v4", kind: Kind::FirstFragment, ..TCP },
        Case { name: "later fragment, v4", ..later },
    ];
    groups.push((Plan { udp: true, ..Plan::ONE }, fragments));
    groups
}

fn sizes() -> Vec<Group> {
    use Target::Times;
    let many = Plan { clusters: 100, nodes: 10, ..Plan::ONE };
    let one = |plan, name, target| (plan, vec![Case { name, flows: SOME, target, ..TCP }]);
    let within = Times(1.2, SERVICES_1);
    let hot = |name, hot| Case { name, flows: SOME, hot, ..TCP };
    let hundred = Plan { services: 100, ..many };
    let thousand = Plan { services: 1000, ..many };
    let thousand_nodes = Plan { nodes: 1000, ..Plan::ONE };
    let mut groups = vec![
        one(Plan::ONE, SERVICES_1, Target::Told),
        one(thousand_nodes, "1 service, 1,000 nodes, all hot", Target::Told),
        one(hundred, "100 services, 1,000 nodes, one hot", within),
        one(thousand, "1,000 services, 1,000 nodes, one hot", within),
    ];
    let one_hot = Case { name: "1 service, 1,000 nodes, one hot", ..TCP };
    groups[1].1.insert(0, Case { target: Times(1.2, ONE), ..one_hot });
    groups[2].1.push(hot("100 services, 1,000 nodes, all hot", 100));
    groups[3].1.push(hot("1,000 services, 1,000 nodes, all hot", 1000));
    groups
}

fn windows(clean: lb_common::FlowHash) -> Vec<Group> {
    use Target::{More, TimesOrMore, Told};
    let moved = |moved| Plan { moved, ..Plan::ONE };
    let within = TimesOrMore(2.0, 35.0, STEADY);
    let pins = |name, flows, target| Case { name, flows, pins: Pins::Of(flows), target, ..TCP };
    let syn = Case { kind: Kind::Syn, flows: 0, ..TCP };
    let first = Pins::NoneAndFew(50_000);
    vec![
        (
            moved(Moved::AllBut(clean)),
            vec![Case {
                name: "window open, clean slot",
                target: More(2.0, "ipip v4, 1 flow"),
                ..TCP
            }],
        ),
        (
            moved(Moved::Residue),
            vec![Case {
                name: "drain, no pins",
                flows: SOME,
                pins: Pins::NoneAndFew(100_000),
                target: within,
                ..TCP
            }],
        ),
        (
            moved(Moved::All),
            vec![
                pins("drain, 1k pins", 1_000, within),
                pins("drain, 10k pins", 10_000, within),
                pins("drain, 50k pins", 50_000, within),
                pins("drain, 100k pins", 100_000, Told),
                Case {
                    name: "drain, first packets",
                    pins: first,
                    target: More(60.0, STEADY),
                    ..syn
                },
                Case { name: "drain, new SYNs, pins full", ..syn },
            ],
        ),
    ]
}
