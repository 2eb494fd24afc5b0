//! Replies of `nat` nodes in the kernel, on a host with a way to the client.

use anyhow::{Context, Result, ensure};
use lb_common::{HashAlgorithm, PlanRecord, Reason};
use lb_ebpf::Action;

use super::{
    cases::here,
    check,
    packets::{Ip, Link},
    places::{CLIENT, FAMILIES, Family, SERVED},
    runners::KernelRunner,
    to::To,
    world::World,
};
use crate::{netns::Netns, owner::Owner};

const HERE: [u8; 6] = [2, 0, 0, 5, 0, 1];
const GATEWAY: [u8; 6] = [2, 0, 0, 5, 0, 2];

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
")?;
    netns.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    Ok(netns)
}

/// Replies leave by the link, with the gateway's MAC and one hop less, if it is one of ours; else the
/// host gets them.
///
/// # Errors
/// They do not.
pub fn run() -> Result<()> {
    let netns = network()?;
    netns.run(|| {
        let index = nix::net::if_::if_nametoindex("out")?;
        let interfaces = [index, 0, 0, 0, 0, 0, 0, 0];
        for ours in [true, false] {
            let mut intent = World::Host.intent();
            let plan = PlanRecord { flags: PlanRecord::NAT, ..PlanRecord::default() };
            intent.plan = if ours { PlanRecord { interfaces, ..plan } } else { plan };
            let kernel = KernelRunner::new(&intent, HashAlgorithm::Multilinear)?;
            for family in FAMILIES {
                for ttl in [64, 2] {
                    reply(&kernel, family, ours, ttl)?;
                }
            }
        }
        Ok(())
    })
}

fn reply(kernel: &KernelRunner, family: Family, ours: bool, ttl: u8) -> Result<()> {
    let node = if family == Family::V4 { To::Nat4 } else { To::Nat6 };
    let client = (CLIENT.of(family), 40_000);
    let reply = Ip::tcp((node.address(), 8080), client, b"data").with(|ip| ip.ttl = ttl);
    let seen = reply.clone().coming_from(SERVED.of(family), node.port());
    let is = kernel.run(&here().frame(&reply.bytes()))?;
    let (action, reason, frame) = if ours {
        let link = Link { to: GATEWAY, from: HERE, tags: Vec::new() };
        let seen = seen.with(|ip| ip.ttl -= 1);
        (Action::Redirect, Reason::ReplySent, link.frame(&seen.bytes()))
    } else {
        (Action::Pass, Reason::ReplyToHost, here().frame(&seen.bytes()))
    };
    let counted = is.counters.iter().find(|(_, n)| *n > 0).map(|(reason, _)| reason);
    ensure!(
        (is.action, counted) == (action, Some(reason)) && is.frame == frame,
        "{family:?}, ours: {ours}, time to live {ttl}: {}",
        check::describe(&is)
    );
    Ok(())
}
