//! Starts that are refused: each says what would be right, and changes nothing.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, ensure};
use aya::programs::{Xdp, XdpMode};
use lb_common::{layout::LAYOUT_VERSION, maps};
use lb_user::{dataplane::memory::Memory, object::object};
use nix::sys::signal::Signal;

use super::small::{INTERFACE, Small, said};
use crate::{daemon::beside, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[
    Case::network("refused/configuration", bad_configuration),
    Case::network("refused/interface-missing", interface_missing),
    Case::network("refused/not-root", not_root),
    Case::network("refused/no-bpf-filesystem", no_bpf_filesystem),
    Case::network("refused/no-control-socket", no_control_socket),
    Case::network("refused/foreign-pins", foreign_pins),
    Case::network("refused/xdp-attached", xdp_attached),
    Case::network("refused/second-daemon", second_daemon),
    Case::network("refused/other-layout", other_layout),
    Case::network("refused/other-secret", other_secret),
];

/// The start is refused with all of these words.
fn refused(small: &Small, configuration: &std::path::Path, words: &[&str]) -> Result<()> {
    let output = small.understudy(&["run", "--config", &configuration.display().to_string()])?;
    ensure!(output.status.code() == Some(1), "not refused: {}", said(&output));
    let text = said(&output);
    for word in words {
        ensure!(text.contains(word), "no {word:?} in: {text}");
    }
    Ok(())
}

fn nothing_left(small: &Small) -> Result<()> {
    ensure!(!small.pins().exists(), "pins are left in {}", small.pins().display());
    ensure!(!small.attached()?, "a program is left on {INTERFACE}");
    ensure!(!small.socket().exists(), "a control socket is left");
    Ok(())
}

fn bad_configuration() -> Result<()> {
    let small = Small::new()?;
    let file = small.configuration(&[
        ("203.0.113.9", "203.0.113.999"),
        ("\"one-standby\"", "\"two-standby\""),
        ("standbys = [\"S\"]", "standbys = [\"T\"]"),
    ])?;
    refused(&small, &file, &[":13:", "203.0.113.999", ":24:", "two-standby", "\"T\"", "3 errors"])?;
    nothing_left(&small)
}

fn interface_missing() -> Result<()> {
    let small = Small::new()?;
    let file = small.configuration(&[("name = \"lb0\"", "name = \"nowhere0\"")])?;
    refused(&small, &file, &["no interface named nowhere0"])?;
    nothing_left(&small)
}

fn not_root() -> Result<()> {
    let small = Small::new()?;
    let file = small.configuration(&[])?;
    // Readable for everybody, wherever the build is: by descriptor, not by path.
    let text = fs::read(&file)?;
    let mut child = Command::new(beside("understudy")?);
    // Owned by root, the working directory may be closed to others.
    child.current_dir("/").uid(65_534).gid(65_534);
    let copy = std::env::temp_dir().join(format!("understudy-not-root-{}", std::process::id()));
    fs::write(&copy, text)?;
    let output = child.arg("run").arg("--config").arg(&copy).output();
    fs::remove_file(&copy)?;
    let output = output.context("starting understudy as nobody")?;
    ensure!(output.status.code() == Some(1), "not refused: {}", said(&output));
    ensure!(said(&output).contains("must run as root"), "{}", said(&output));
    nothing_left(&small)
}

fn no_bpf_filesystem() -> Result<()> {
    let small = Small::new()?;
    let elsewhere = format!("/run/understudy-no-bpf-{}", std::process::id());
    let file = small.configuration(&[(&small.pins().display().to_string(), &elsewhere)])?;
    refused(&small, &file, &["not in a bpf filesystem", "mount -t bpf"])?;
    ensure!(!std::path::Path::new(&elsewhere).exists(), "{elsewhere} was made");
    nothing_left(&small)
}

fn no_control_socket() -> Result<()> {
    let small = Small::new()?;
    let file = small.configuration(&[(&small.at(), "/dev/null/control.sock")])?;
    refused(&small, &file, &["control socket /dev/null/control.sock"])?;
    nothing_left(&small)
}

fn xdp_attached() -> Result<()> {
    let small = Small::new()?;
    let mut ebpf = aya::EbpfLoader::new().load(object().context("the XDP object")?)?;
    let pass: &mut Xdp = ebpf.program_mut("pass").context("the program")?.try_into()?;
    pass.load()?;
    let link = small.lb.run(|| Ok(pass.attach(INTERFACE, XdpMode::Driver)?))?;
    let file = small.configuration(&[])?;
    refused(&small, &file, &["already attached", INTERFACE])?;
    ensure!(small.attached()?, "the program that was there is gone");
    ensure!(!small.pins().exists(), "pins are left");
    pass.detach(link)?;
    nothing_left(&small)
}

fn second_daemon() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    refused(&small, &file, &["another understudy holds"])?;
    let detach = small.understudy(&["detach", "--config", &file.display().to_string()])?;
    ensure!(detach.status.code() == Some(1), "detached under a daemon: {}", said(&detach));
    ensure!(small.attached()?, "the program is gone");
    small.status()?;
    Ok(())
}

fn other_layout() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    small.stop(Signal::SIGTERM)?;
    ensure!(small.attached()?, "SIGTERM took the program off");
    {
        let memory = Memory::open(&small.pins())?;
        let mut control = memory.control.get(0).context("CONTROL")?;
        control.layout = 99;
        memory.control.set(0, control);
    }
    // An older version's are not all there either, and others are.
    fs::remove_file(small.pins().join(maps::PLANS.name))?;
    for name in maps::FORMER {
        let map: aya::maps::Array<_, u32> = aya::maps::Array::create(1, 0)?;
        map.pin(small.pins().join(name))?;
    }
    let pins = small.pins().display().to_string();
    let needed = format!("layout 99, needed is layout {LAYOUT_VERSION}");
    let anew = format!("understudy detach --bpffs {pins}, then run again");
    refused(&small, &file, &["not of this version", &needed, &anew])?;
    ensure!(small.attached()?, "a refused start took the program off");
    let detached = small.understudy(&["detach", "--bpffs", &pins])?;
    ensure!(detached.status.success(), "not detached: {}", said(&detached));
    nothing_left(&small)?;
    small.start(&file)
}

fn other_secret() -> Result<()> {
    let mut small = Small::new()?;
    let file = small.configuration(&[])?;
    small.start(&file)?;
    small.stop(Signal::SIGINT)?;
    let file = small.configuration(&[("000102", "ff0102")])?;
    refused(&small, &file, &["another secret"])?;
    ensure!(small.attached()?, "a refused start took the program off");
    Ok(())
}

/// A directory that holds somebody else's pins is left as it is, by `run` and by `detach`.
fn foreign_pins() -> Result<()> {
    let small = Small::new()?;
    let file = small.configuration(&[])?;
    fs::create_dir(small.pins())?;
    let map: aya::maps::Array<_, u32> = aya::maps::Array::create(1, 0)?;
    let pin = small.pins().join("not_ours");
    map.pin(&pin)?;
    refused(&small, &file, &["not understudy's", "not_ours"])?;
    let detach = small.understudy(&["detach", "--config", &file.display().to_string()])?;
    ensure!(detach.status.code() == Some(1), "detached: {}", said(&detach));
    ensure!(pin.exists() && !small.attached()?, "somebody else's pin is gone");
    fs::remove_file(&pin)?;
    Ok(())
}
