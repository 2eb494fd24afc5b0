//! `understudy trace --kernel`: what the loaded program does with frames is what the stages in memory
//! do, over every way to forward.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;

use super::small::said;
use crate::{daemon::beside, owner::Directories, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("trace/kernel-agrees", kernel_agrees),
    Case::network("trace/replies-to-host", replies_to_host),
];

/// Services by each way to forward: 192.0.2.10 to .15, and 2001:db8::10 to ::15, on port 80.
const WAYS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../lb-user/tests/trace/ways.toml"));

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 0xc1], [2, 0, 0, 0, 0, 0x1b]);
const CLIENT: [u8; 4] = [198, 51, 100, 7];
/// Frames that are too big: more than senders are told of within a second.
const TOO_BIG: usize = 1500;

fn kernel_agrees() -> Result<()> {
    let directories = Directories::create()?;
    let frames = frames()?;
    let memory = trace(&directories.path(), &[], &frames)?;
    let kernel = trace(&directories.path(), &["--kernel"], &frames)?;
    ensure!(memory.len() == frames.len(), "{} lines of {} frames", memory.len(), frames.len());
    ensure!(memory.len() == kernel.len(), "{} and {} lines", memory.len(), kernel.len());
    // Who is told of what is too big depends on the time; that both agree, the command has seen.
    let timeless = memory.iter().zip(&kernel).zip(&frames).take(frames.len() - TOO_BIG);
    for ((memory, kernel), frame) in timeless {
        ensure!(memory == kernel, "{frame:02x?}\nmemory {memory}\nkernel {kernel}");
    }
    for reason in [
        "forward_tx",
        "forward_fragment",
        "forward_icmp",
        "answer_echo",
        "answer_too_big",
        "pass_not_vip",
        "pass_malformed",
        "drop_fragment",
        "drop_malformed",
        "drop_martian",
    ] {
        let seen = kernel.iter().any(|line| line.contains(&format!("\"reason\":\"{reason}\"")));
        ensure!(seen, "no {reason}");
    }
    Ok(())
}

/// Replies are rewritten; where they go, the host's routes would say, so they are given to it.
fn replies_to_host() -> Result<()> {
    let directories = Directories::create()?;
    let reply = tcp4([10, 0, 4, 1], CLIENT, (8080, 40_000), 5)?;
    let lines = trace(&directories.path(), &["--kernel"], &[reply])?;
    let line: serde_json::Value = serde_json::from_str(lines.first().context("a line")?)?;
    ensure!(line["reason"] == "reply_to_host" && line["verdict"] == "pass", "{line}");
    ensure!(line["service"] == "nat4" && line["node"].is_null(), "{line}");
    // From 192.0.2.15.
    ensure!(line["packet"].as_str().unwrap_or_default()[52..60] == *"c000020f", "{line}");
    Ok(())
}

/// Frames of every kind; the last [`TOO_BIG`] are too big.
fn frames() -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for last in 10..=15 {
        frames.push(tcp4(CLIENT, [192, 0, 2, last], (40_000, 80), 500)?);
        frames.push(tcp6(last, 5)?);
        frames.push(ping([192, 0, 2, last])?);
        // An error about a packet to the client.
        let quoted = tcp4([192, 0, 2, last], CLIENT, (80, 40_000), 5)?;
        frames.push(unreachable([192, 0, 2, last], &quoted[14..42])?);
    }
    frames.push(tcp4([127, 0, 0, 1], [192, 0, 2, 10], (1, 80), 5)?);
    frames.push(tcp4(CLIENT, [192, 0, 2, 99], (1, 80), 5)?);
    frames.push(frames[1].iter().rev().copied().collect());
    let [first, later] = fragments(&tcp4(CLIENT, [192, 0, 2, 13], (40_000, 80), 500)?);
    frames.extend([later.clone(), first, later]);
    // Cut off anywhere; the kernel takes no less than an Ethernet header.
    for whole in [&frames[0].clone(), &frames[5].clone()] {
        frames.extend((14..whole.len()).map(|length| whole[..length].to_vec()));
    }
    let big = tcp6(11, 1460)?;
    frames.extend(vec![big; TOO_BIG]);
    Ok(frames)
}

fn tcp4(from: [u8; 4], to: [u8; 4], ports: (u16, u16), data: usize) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4(from, to, 64);
    builder.tcp(ports.0, ports.1, 7, 64_240).syn().write(&mut frame, &vec![b'x'; data])?;
    Ok(frame)
}

fn tcp6(last: u8, data: usize) -> Result<Vec<u8>> {
    // 0x10 is written "10".
    let vip = last / 10 * 16 + last % 10;
    let address = |net, last| [0x20, 1, 0xd, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv6(address(9, 7), address(0, vip), 64);
    builder.tcp(40_000, 80, 7, 64_240).syn().write(&mut frame, &vec![b'x'; data])?;
    Ok(frame)
}

fn ping(to: [u8; 4]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4(CLIENT, to, 64);
    builder.icmpv4_echo_request(1, 1).write(&mut frame, b"ping")?;
    Ok(frame)
}

/// From some router, "fragmentation needed".
fn unreachable(to: [u8; 4], quoted: &[u8]) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(MACS.0, MACS.1).ipv4([203, 0, 113, 9], to, 64);
    builder.icmpv4_raw(3, 4, [0, 0, 5, 0]).write(&mut frame, quoted)?;
    Ok(frame)
}

/// Two fragments of an IPv4 frame, without right header checksums: nobody looks at them.
fn fragments(frame: &[u8]) -> [Vec<u8>; 2] {
    const L3: usize = 34;
    const FIRST: usize = 64;
    let piece = |bytes: &[u8], field: u16| {
        let mut piece = [&frame[..L3], bytes].concat();
        let length = (piece.len() - 14) as u16;
        piece[16..18].copy_from_slice(&length.to_be_bytes());
        piece[20..22].copy_from_slice(&field.to_be_bytes());
        piece
    };
    let (first, later) = frame[L3..].split_at(FIRST);
    [piece(first, 0x2000), piece(later, FIRST as u16 / 8)]
}

/// The lines of output for some frames; that kernel and memory differ is an error.
fn trace(directory: &Path, options: &[&str], frames: &[Vec<u8>]) -> Result<Vec<String>> {
    let file = directory.join("ways.toml");
    fs::write(&file, WAYS)?;
    let hex = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text: String = frames.iter().map(|frame| hex(frame) + "\n").collect();
    let input = directory.join("frames");
    fs::File::create(&input)?.write_all(text.as_bytes())?;
    let mut command = Command::new(beside("understudy")?);
    command.arg("trace").arg(&file).arg(&input).args(["--format", "json"]).args(options);
    let output: Output = command.stdin(Stdio::null()).output().context("starting understudy")?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
