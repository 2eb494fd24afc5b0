//! What an operator meets: strangers' packets untouched, maps that bpftool can read, a warning, a
//! reload, a release, a detach.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use lb_common::{HashAlgorithm, maps};
use lb_user::dataplane::pins::difference;
use nix::sys::{
    signal::Signal,
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    time::TimeVal,
};

use super::small::{INTERFACE, Small, said};
use crate::{pipeline::KernelRunner, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::new("maps/as-described", maps_as_described),
    Case::network("operator/warns-of-a-vip-that-is-not-local", foreign_vip),
    Case::network("operator/strangers-untouched", strangers),
    Case::network("operator/bpftool", bpftool),
    Case::network("operator/reload", reload),
    Case::network("operator/release-and-explain", release_and_explain),
    Case::network("operator/detach", detach),
];

fn maps_as_described() -> Result<()> {
    let empty = crate::pipeline::empty();
    let kernel = KernelRunner::new(&empty, HashAlgorithm::Multilinear)?;
    for spec in maps::ALL {
        let info = aya::maps::MapInfo::from_pin(kernel.directory().join(spec.name))?;
        ensure!(difference(spec, &info).is_none(), "{:?}", difference(spec, &info));
        // Pins come in several sizes, which their own tests know.
        let sized = spec.name != maps::PINS.name;
        let longer = maps::MapSpec { max_entries: spec.max_entries + 1, ..*spec };
        for wrong in [
            maps::MapSpec { value_size: spec.value_size + 8, ..*spec },
            maps::MapSpec { flags: spec.flags ^ maps::MMAPABLE, ..*spec },
        ]
        .into_iter()
        .chain(sized.then_some(longer))
        {
            ensure!(difference(&wrong, &info).is_some(), "{wrong:?} passes for {}", spec.name);
        }
    }
    Ok(())
}

/// Packets to a VIP that is nobody's do not come by themselves: the log says so, and only then.
fn foreign_vip() -> Result<()> {
    const WARNING: &str = "neither an address of this host";
    for (vip, is_foreign) in [("192.0.2.10:80", false), ("192.0.2.77:80", true)] {
        let mut small = Small::new()?;
        let file = small.configuration(&[("192.0.2.10:80", vip)])?;
        small.start(&file)?;
        if is_foreign {
            small.until("a warning", |small| Ok(small.log().contains(WARNING)))?;
        }
        // Whatever it says before its end, it has said then.
        small.stop(Signal::SIGTERM)?;
        let log = small.log();
        ensure!(log.contains(WARNING) == is_foreign, "{vip}, warned: {}:\n{log}", !is_foreign);
        ensure!(!log.contains("cannot tell whether"), "{log}");
        ensure!(!is_foreign || log.contains("192.0.2.77"), "it does not say which:\n{log}");
    }
    Ok(())
}

/// ARP, pings, TCP and UDP of the host itself, other ports of the VIP. (Pings of the VIP are no
/// stranger's.)
fn strangers() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    small.client.run(|| ping("203.0.113.1".parse()?)).context("ping of the host")?;
    for address in ["203.0.113.1:22", "192.0.2.10:22", "[2001:db8::1]:22"] {
        let listener = small.lb.run(|| Ok(TcpListener::bind(address)?))?;
        let mut stream = small.client.run(|| Ok(TcpStream::connect(address)?))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (mut served, _) = listener.accept()?;
        stream.write_all(b"hello")?;
        let mut heard = [0; 5];
        served.read_exact(&mut heard)?;
        served.write_all(&heard)?;
        stream.read_exact(&mut heard)?;
        ensure!(&heard == b"hello", "{address}: {heard:?}");
    }
    // The VIP's own port, but another protocol.
    let server = small.lb.run(|| Ok(UdpSocket::bind("192.0.2.10:80")?))?;
    let client = small.client.run(|| Ok(UdpSocket::bind("203.0.113.2:0")?))?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    client.send_to(b"hello", "192.0.2.10:80")?;
    let mut heard = [0; 5];
    server.recv_from(&mut heard)?;

    let counters = &small.status()?["counters"];
    let count = |name: &str| counters[name].as_u64().unwrap_or_default();
    for seen in ["pass_not_ip", "pass_not_vip", "pass_no_service"] {
        ensure!(count(seen) > 0, "no {seen} in {counters}");
    }
    for never in counters.as_object().context("counters")?.keys() {
        let passes = never.starts_with("pass_") && never != "pass_malformed";
        ensure!(passes || count(never) == 0, "{never} in {counters}");
    }
    Ok(())
}

/// An ICMP echo request, and its reply.
fn ping(target: Ipv4Addr) -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(5, 0))?;
    let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 1 });
    let mut request = Icmpv4Header::with_checksum(echo, b"ping").to_bytes().to_vec();
    request.extend(b"ping");
    let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
    sendto(socket.as_raw_fd(), &request, &to, MsgFlags::empty())?;
    let mut buffer = [0; 256];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        // An IPv4 header without options comes first; type 0 is the reply (RFC 792).
        if buffer[..length].get(20) == Some(&0) && buffer[..length].ends_with(b"ping") {
            return Ok(());
        }
    }
}

/// The commands of the README.
fn bpftool() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    let dump = |map: &str| -> Result<serde_json::Value> {
        let pin = small.pins().join(map);
        let output =
            Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(pin).output();
        let output = output.context("starting bpftool")?;
        ensure!(output.status.success(), "{map}: {}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let values = |map: &str| -> Result<Vec<serde_json::Value>> {
        let entries = dump(map)?.as_array().cloned().unwrap_or_default();
        let formatted = |entry: &serde_json::Value| entry["formatted"]["value"].clone();
        Ok(entries.iter().map(formatted).collect())
    };
    let clusters = values("CLUSTERS")?;
    ensure!(clusters.len() == 2, "{clusters:?}");
    for field in ["weight", "priority", "healthy", "alive", "needed", "total", "epoch"] {
        ensure!(clusters.iter().all(|c| c[field].is_u64()), "no {field} in {clusters:?}");
    }
    let nodes = values("NODES")?;
    ensure!(nodes.len() == 3, "{nodes:?}");
    for field in ["number", "address", "mac", "weight", "priority", "state"] {
        ensure!(nodes.iter().all(|n| !n[field].is_null()), "no {field} in {nodes:?}");
    }
    let services = values("SERVICES")?;
    ensure!(services.len() == 1 && services[0]["port"] == 80, "{services:?}");
    let control = values("CONTROL")?;
    ensure!(control[0]["epoch"] == small.status()?["epoch"], "{control:?}");
    ensure!(control[0]["heartbeat"].as_u64() > Some(0), "{control:?}");
    let counters = dump("COUNTERS")?;
    ensure!(counters.to_string().contains("pass_not_vip"), "{counters}");

    let mut show = Command::new("bpftool");
    let show = show.args(["prog", "show", "name", "understudy"]).output()?;
    ensure!(String::from_utf8_lossy(&show.stdout).contains("xdp"), "{}", said(&show));
    let net = small.in_lb("bpftool").args(["net", "show"]).output()?;
    let text = String::from_utf8_lossy(&net.stdout).into_owned();
    ensure!(text.contains(INTERFACE) && text.contains("driver"), "not native: {text}");
    Ok(())
}

fn reload() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    let names = |status: &serde_json::Value| -> Vec<String> {
        let clusters = status["clusters"].as_array().cloned().unwrap_or_default();
        clusters.iter().filter_map(|c| Some(c["name"].as_str()?.to_owned())).collect()
    };
    let before = small.status()?["epoch"].clone();
    small.configuration(&[("masters = [\"A\"]", "masters = [\"B\"]")])?;
    small.signal(Signal::SIGHUP)?;
    small.until("the bad file is refused", |small| Ok(small.log().contains("not reloaded")))?;
    ensure!(small.log().contains("\"B\""), "it does not say what is wrong:\n{}", small.log());
    ensure!(small.status()?["epoch"] == before, "a bad file changed the plan");

    small.configuration(&[("lb0", "lb1")])?;
    small.signal(Signal::SIGHUP)?;
    small
        .until("another interface is refused", |small| Ok(small.log().contains("cannot change")))?;

    let more =
        "[[cluster]]\nname = \"B\"\nnodes = [{ name = \"b1\", address = \"203.0.113.7\" }]\n";
    let masters = format!("{more}\n[[service]]\nname = \"web\"");
    small.configuration(&[
        ("[[service]]\nname = \"web\"", masters.as_str()),
        ("masters = [\"A\"]", "masters = [\"A\", \"B\"]"),
    ])?;
    small.signal(Signal::SIGHUP)?;
    small.until("the new plan is in force", |small| {
        let status = small.status()?;
        Ok(names(&status) == ["A", "B", "S"] && status["epoch"].as_u64() > before.as_u64())
    })
}

/// A cluster with `failback = "manual"` fails, recovers, is held back, and is released; `explain`
/// says of a flow where it goes at each step.
fn release_and_explain() -> Result<()> {
    let mut small = Small::new()?;
    small.client.ip("address add 203.0.113.8/24 dev eth0\n")?;
    let listen = |address: &str| small.client.run(|| Ok(TcpListener::bind((address, 80))?));
    let (master, standby) = (listen("203.0.113.2")?, listen("203.0.113.8")?);
    let file =
        small.configuration(&[("name = \"A\"\n", "name = \"A\"\nfailback = \"manual\"\n")])?;
    small.start(&file)?;
    let serves = |cluster: &'static str| {
        move |small: &Small| {
            let status = small.status()?;
            let clusters = status["services"][0]["clusters"].as_array().cloned();
            let share = |c: &serde_json::Value| c["name"] == cluster && c["share"] == 1.0;
            Ok(clusters.unwrap_or_default().iter().any(share))
        }
    };
    let node = |small: &Small| -> Result<serde_json::Value> {
        let flow = ["tcp", "203.0.113.2:40000", "192.0.2.10:80"];
        let at = small.at();
        let options = ["explain", "--socket", at.as_str(), "--format", "json"];
        let output = small.understudy(&[&options[..], &flow[..]].concat())?;
        ensure!(output.status.success(), "explain: {}", said(&output));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    small.until("A serves", serves("A"))?;
    ensure!(node(&small)?["node"] == "a1", "{}", node(&small)?);
    drop(master);
    small.until("S carries", serves("S"))?;
    ensure!(node(&small)?["node"] == "s1", "{}", node(&small)?);

    let _master = small.client.run(|| Ok(TcpListener::bind(("203.0.113.2", 80))?))?;
    small.until("A is held back", |small| {
        let cluster = small.status()?["services"][0]["clusters"][0].clone();
        Ok(cluster["reason"].as_str().is_some_and(|reason| reason.contains("held back")))
    })?;
    ensure!(serves("S")(&small)?, "S no longer carries");
    let release = |small: &Small| small.understudy(&["release", "A", "--socket", &small.at()]);
    let output = release(&small)?;
    ensure!(output.status.success(), "release: {}", said(&output));
    small.until("A serves again", serves("A"))?;
    ensure!(node(&small)?["node"] == "a1", "{}", node(&small)?);
    let output = release(&small)?;
    ensure!(output.status.code() == Some(1), "released twice: {}", said(&output));
    drop(standby);
    Ok(())
}

fn detach() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    let arguments = ["detach", "--config", &file.display().to_string()];
    let output = small.understudy(&arguments)?;
    ensure!(output.status.success(), "nothing to detach is no error: {}", said(&output));
    small.start(&file)?;
    small.stop(Signal::SIGKILL)?;
    ensure!(small.attached()?, "kill -9 took the program off");
    let plans = |small: &Small| -> Result<usize> {
        let mut plans = 0;
        for entry in fs::read_dir(small.directory())? {
            plans += usize::from(entry?.file_name().to_string_lossy().contains(".plan-"));
        }
        Ok(plans)
    };
    ensure!(plans(&small)? > 0, "no file says what the plan in force names");
    let output = small.understudy(&arguments)?;
    ensure!(output.status.success(), "detach: {}", said(&output));
    ensure!(!small.attached()? && !small.pins().exists(), "something is left");
    ensure!(plans(&small)? == 0, "a plan's file is left");
    Ok(())
}
