//! Packets through a contender as fast as a generator makes them.
//!
//! The generator runs a program on live frames (`BPF_PROG_TEST_RUN`), which sends packets of 2^14 TCP
//! connections straight into the load balancer's wire, at the switch's end. What the load balancer
//! sends on is counted there, and dropped by a program. All three have one CPU and take turns, with
//! no more packets at a time than a veth's ring has room for (256): so none is lost, and none of
//! them waits for another CPU to wake up, which on a virtual machine takes longer than a ring is long. The
//! generator takes most of that CPU, so what a packet costs the load balancer says more than the rate.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::{
    TestRun as _, TestRunAttrs, TestRunOptions,
    programs::{Xdp, XdpMode},
};
use etherparse::{PacketBuilder, TcpHeaderSlice};
use nix::{net::if_::if_nametoindex, sched::sched_getcpu};

use super::stage::{Stage, packets};
use crate::{
    bench::machine::pin,
    clock::Moment,
    netns::Netns,
    offload,
    stop::Stop,
    topology::{INTERFACE, port},
    xdp::Program,
};

/// The program that makes packets, on live frames.
const GENERATE: &str = "generate";
/// The program that takes them.
const SINK: &str = "sink";
/// Who sends: nobody (RFC 5737). `sink` knows them by it.
const SENDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Ethernet, IPv4, TCP.
const HEADERS: usize = 14 + 20 + 20;
/// Where `generate` finds the headers to send, and then the interface.
const TEMPLATE: usize = 64;
/// Where TCP's checksum stands.
const CHECKSUM: usize = 50;
/// Frames that the kernel makes at a time, and until others have their turn.
const BATCH: u32 = 64;
const REPEAT: u32 = 3 * BATCH;
const WARM_UP: Duration = Duration::from_millis(200);

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// How long it was measured.
    pub seconds: f64,
    /// Packets that the load balancer sent on.
    pub forwarded: u64,
    /// Its CPU time.
    pub lb: Duration,
}

/// Floods a contender for so long, by the programs of an object. Its far end takes no other traffic
/// afterwards.
///
/// # Errors
/// If the kernel cannot, or less than nine in ten of the packets that the load balancer received come
/// out again.
pub fn run(stage: &mut Stage, object: &[u8], length: Duration, stop: &Stop) -> Result<Flood> {
    let wire = &port("lb");
    // An interface has one program; GRO keeps its threads while it has none.
    stage.topology.switch.run(|| offload::set(wire, &[offload::GRO], true))?;
    stage.topology.detach();
    let topology = &stage.topology;
    let _sink = Program::of(object, SINK)?.attach(&topology.switch, wire)?;
    let target = *stage.targets.first().context("nobody to flood")?;
    let (mut generator, end) = (Program::of(object, GENERATE)?, AtomicBool::new(false));
    let frame = frame(&topology.lb, &topology.switch, wire, target)?;
    let program = generator.xdp()?;
    // The kernel takes milliseconds to start a program that is attached nowhere.
    topology.switch.run(|| Ok(program.attach("lo", XdpMode::Skb)?))?;
    let program: &Xdp = program;
    let cpu = sched_getcpu()?;
    stage.receivers.pin(cpu)?;
    stage.far.pin(cpu)?;
    thread::scope(|scope| {
        let flood = scope.spawn(|| topology.switch.run(|| generate(program, &frame, cpu, &end)));
        let measured = measure(stage, wire, length, stop);
        end.store(true, Relaxed);
        let flooded = flood.join().map_err(|_| anyhow!("the generator died"))?;
        flooded.context("the generator").and(measured)
    })
}

fn measure(stage: &Stage, wire: &str, length: Duration, stop: &Stop) -> Result<Flood> {
    let (lb, switch) = (&stage.topology.lb, &stage.topology.switch);
    stop.wait(WARM_UP)?;
    let (begin, cpu) = (Moment::now(), stage.lb_time()?);
    let before = (packets(lb, INTERFACE)?.0, packets(switch, wire)?.0);
    stop.wait(length)?;
    let after = (packets(lb, INTERFACE)?.0, packets(switch, wire)?.0);
    let flood = Flood {
        seconds: begin.elapsed().as_secs_f64(),
        forwarded: after.1 - before.1,
        lb: stage.lb_time_since(cpu)?,
    };
    let received = after.0 - before.0;
    ensure!(
        flood.forwarded > 0 && flood.forwarded * 10 >= received * 9,
        "of {received} packets {} came out again",
        flood.forwarded
    );
    Ok(flood)
}

/// Sends, from a CPU, until it is to end.
fn generate(program: &Xdp, frame: &[u8], cpu: usize, end: &AtomicBool) -> Result<()> {
    pin(0, cpu)?;
    while !end.load(Relaxed) {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = REPEAT;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        program.test_run(options)?;
        thread::yield_now();
    }
    Ok(())
}

/// What `generate` takes: room for the packet, its headers, and the interface to send by. The IPv4
/// header says that the packet ends with TCP's, so the rest is padding.
fn frame(lb: &Netns, switch: &Netns, wire: &str, target: SocketAddr) -> Result<Vec<u8>> {
    let IpAddr::V4(address) = target.ip() else { bail!("floods are of IPv4") };
    let mac = lb.run(|| mac(INTERFACE))?;
    let interface = switch.run(|| Ok(if_nametoindex(wire)?))?;
    let mut headers = Vec::with_capacity(HEADERS);
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], mac)
        .ipv4(SENDER.octets(), address.octets(), 64)
        .tcp(0, target.port(), 7, 64_240)
        .ack(9)
        .write(&mut headers, &[])
        .context("building a packet")?;
    let checksum = TcpHeaderSlice::from_slice(&headers[34..])?.checksum();
    headers[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!checksum).to_be_bytes());
    let mut frame = vec![0; TEMPLATE];
    frame.extend(headers);
    frame.extend(interface.to_le_bytes());
    Ok(frame)
}

/// The hardware address of an interface of the calling thread's namespace.
fn mac(interface: &str) -> Result<[u8; 6]> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == interface);
    let link = addresses.filter_map(|entry| entry.address?.as_link_addr()?.addr()).next();
    link.with_context(|| format!("{interface} has no hardware address"))
}
