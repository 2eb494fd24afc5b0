//! Replies of `nat` nodes in the kernel, on a host with a way to the client.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use lb_common::{HashAlgorithm, PlanRecord, Reason};
use lb_ebpf::Action;

use super::{
    cases::{back, here, size::told},
    check,
    frames::LB_MAC,
    packets::{DONT_FRAGMENT, Ip, Link},
    places::{CLIENT, FAMILIES, Family, ROUTER, SERVED},
    runners::KernelRunner,
    to::To,
    world::{INGRESS, World},
};
use crate::{netns::Netns, owner::Owner};

const HERE: [u8; 6] = [2, 0, 0, 5, 0, 1];
const GATEWAY: [u8; 6] = [2, 0, 0, 5, 0, 2];
/// Bytes of the largest IP packet of the way to another client.
const SMALL: usize = 1300;

/// A network of one host: a link to a gateway that leads to the client. The gateway is nothing but an
/// entry among the neighbours.
fn network() -> Result<Netns> {
    let names = vec![Owner::this().netns("replies")];
    let netns = Netns::create(names)?.pop().context("a namespace")?;
    netns.ip("link set lo up
link add out address 02:00:00:05:00:01 type veth peer name far
link set far up
link set out up
addr add 192.0.2.129/28 dev out
addr add 2001:db8:5::1/64 dev out nodad
neigh add 192.0.2.130 lladdr 02:00:00:05:00:02 dev out nud permanent
neigh add 2001:db8:5::2 lladdr 02:00:00:05:00:02 dev out nud permanent
route add 198.51.100.0/24 via 192.0.2.130
route add 2001:db8:c::/64 via 2001:db8:5::2
route add 203.0.113.0/24 via 192.0.2.130 mtu lock 1300
route add 2001:db8:ff::/64 via 2001:db8:5::2 mtu lock 1300
")?;
    netns.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    Ok(netns)
}

/// Replies leave by the link, with the gateway's MAC and one hop less, if it is one of ours; else the
/// host gets them, and also what is too big for the way. Those to another's MAC stay as they are.
///
/// # Errors
/// They do not.
pub fn run() -> Result<()> {
    let netns = network()?;
    netns.run(|| {
        let index = nix::net::if_::if_nametoindex("out")?;
        for ours in [true, false] {
            let mut intent = World::Host.intent();
            intent.plan = PlanRecord { flags: PlanRecord::NAT, ..PlanRecord::default() };
            if ours {
                intent.plan.interfaces[..2].copy_from_slice(&[index, INGRESS]);
                intent.plan.macs[..2].copy_from_slice(&[HERE, LB_MAC]);
            }
            let kernel = KernelRunner::new(&intent, HashAlgorithm::Multilinear)?;
            for family in FAMILIES {
                for ttl in [64, 2] {
                    reply(&kernel, family, ours, ttl)?;
                }
                for (length, fragment) in
                    [(SMALL, DONT_FRAGMENT), (SMALL + 1, DONT_FRAGMENT), (SMALL + 1, 0)]
                {
                    sized(&kernel, family, ours, length, fragment)?;
                }
                another_s(&kernel, family, ours)?;
            }
        }
        Ok(())
    })
}

/// A reply, and what the client gets.
fn packets(family: Family, to: IpAddr, data: &[u8]) -> [Ip; 2] {
    let node = if family == Family::V4 { To::Nat4 } else { To::Nat6 };
    let reply = Ip::tcp((node.address(), 8080), (to, 40_000), data);
    [reply.clone(), reply.coming_from(SERVED.of(family), node.port())]
}

fn reply(kernel: &KernelRunner, family: Family, ours: bool, ttl: u8) -> Result<()> {
    let [reply, seen] =
        packets(family, CLIENT.of(family), b"data").map(|ip| ip.with(|ip| ip.ttl = ttl));
    let must = if ours { goes(seen) } else { to_host(&seen) };
    compare(kernel, &here().frame(&reply.bytes()), must)
        .with_context(|| format!("{family:?}, ours: {ours}, time to live {ttl}"))
}

/// On the small way: what fits goes, what may be fragmented is for the host to send, of the rest the
/// node is told.
fn sized(
    kernel: &KernelRunner,
    family: Family,
    ours: bool,
    length: usize,
    fragment: u16,
) -> Result<()> {
    let to = ROUTER.of(family);
    let bare = packets(family, to, b"")[0].bytes().len();
    let [reply, seen] =
        packets(family, to, &vec![5; length - bare]).map(|ip| ip.with(|ip| ip.fragment = fragment));
    let frame = here().frame(&reply.bytes());
    let must = if length > SMALL && (family == Family::V6 || fragment != 0) {
        let out = back().frame(&told(&reply, SMALL as u16).bytes());
        (Action::Tx, Reason::AnswerTooBig, out)
    } else if ours && length <= SMALL {
        goes(seen)
    } else {
        to_host(&seen)
    };
    compare(kernel, &frame, must)
        .with_context(|| format!("{family:?}, ours: {ours}, {length} bytes, {fragment:#x}"))
}

/// A reply to a MAC that is not the interface's, if that is known.
fn another_s(kernel: &KernelRunner, family: Family, known: bool) -> Result<()> {
    let [reply, seen] = packets(family, CLIENT.of(family), b"data");
    let link = Link { to: GATEWAY, ..here() };
    let frame = link.frame(&reply.bytes());
    let must = if known {
        (Action::Pass, Reason::PassNotOurs, frame.clone())
    } else {
        (Action::Pass, Reason::ReplyToHost, link.frame(&seen.bytes()))
    };
    compare(kernel, &frame, must).with_context(|| format!("{family:?}, another's: {known}"))
}

type Must = (Action, Reason, Vec<u8>);

fn goes(seen: Ip) -> Must {
    let link = Link { to: GATEWAY, from: HERE, tags: Vec::new() };
    let seen = seen.with(|ip| ip.ttl -= 1);
    (Action::Redirect, Reason::ReplySent, link.frame(&seen.bytes()))
}

fn to_host(seen: &Ip) -> Must {
    (Action::Pass, Reason::ReplyToHost, here().frame(&seen.bytes()))
}

fn compare(kernel: &KernelRunner, frame: &[u8], (action, reason, out): Must) -> Result<()> {
    let is = kernel.run(frame)?;
    let counted = is.counters.iter().find(|(_, n)| *n > 0).map(|(reason, _)| reason);
    let right = (is.action, counted) == (action, Some(reason)) && is.frame == out;
    ensure!(right, "must be {action:?} {}, is {}", reason.name(), check::describe(&is));
    Ok(())
}
