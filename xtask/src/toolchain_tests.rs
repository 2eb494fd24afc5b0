//! Machines as values, and what is decided on them.

use super::{Action, Decision, Want, decide};
use crate::host::{Host, Rustc, Rustup, TOOLS};
use crate::linker::Linker;
use std::path::PathBuf;

fn rustc(path: &str, llvm: u32, sources: bool) -> Rustc {
    Rustc {
        path: PathBuf::from(path),
        cargo: PathBuf::from("cargo"),
        version: (1, 96),
        llvm,
        sources,
    }
}

fn linker(path: &str, llvm: u32, misaligned: bool) -> Linker {
    Linker { path: PathBuf::from(path), llvm, misaligned }
}

fn rustup(nightly: Option<Rustc>) -> Option<Rustup> {
    Some(Rustup { name: "nightly".into(), rustc: nightly })
}

/// rustup's stable toolchain and nothing else; not root.
fn user() -> Host {
    Host { rustup: rustup(None), ..Host::default() }
}

/// Debian 12 as root, rustup's stable, no test tools.
fn bare_debian() -> Host {
    Host { apt: true, debian_12: true, root: true, missing: TOOLS.iter().collect(), ..user() }
}

fn ready(host: &Host) -> (String, String) {
    match decide(host, Want::Build, false) {
        Decision::Ready(r) => {
            let text = |path: PathBuf| path.display().to_string();
            (text(r.rustc.path), text(r.linker.path))
        }
        other => panic!("not ready: {other:?}"),
    }
}

fn actions(host: &Host, want: Want) -> Vec<String> {
    match decide(host, want, true) {
        Decision::Install(actions) => actions.iter().map(Action::to_string).collect(),
        other => panic!("nothing to install: {other:?}"),
    }
}

fn refusal(host: &Host, install: bool) -> String {
    match decide(host, Want::Build, install) {
        Decision::Refuse(message) => message,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn nightly_with_sources_and_a_linker_on_path_need_nothing() {
    let host = Host {
        rustup: rustup(Some(rustc("nightly", 22, true))),
        system: Some(rustc("/usr/bin/rustc", 22, true)),
        linkers: vec![linker("path", 22, true)],
        ..user()
    };
    assert_eq!(ready(&host), ("nightly".into(), "path".into()));
}

#[test]
fn the_explicit_compiler_comes_first() {
    let mut host = Host {
        explicit: Some(Ok(rustc("mine", 22, true))),
        rustup: rustup(Some(rustc("nightly", 22, true))),
        linkers: vec![linker("path", 22, true)],
        ..user()
    };
    assert_eq!(ready(&host).0, "mine");
    host.explicit = Some(Ok(rustc("mine", 22, false)));
    assert!(refusal(&host, true).contains("mine has no sources"));
    host.explicit = Some(Err("mine does not run".into()));
    assert!(refusal(&host, true).contains("mine does not run"));
}

#[test]
fn nightly_without_sources_gives_way_to_the_systems_compiler() {
    let host = Host {
        rustup: rustup(Some(rustc("nightly", 22, false))),
        system: Some(rustc("/usr/bin/rustc", 22, true)),
        linkers: vec![linker("path", 22, true)],
        ..user()
    };
    assert_eq!(ready(&host).0, "/usr/bin/rustc");
}

#[test]
fn a_bare_debian_gets_packages_then_a_linker() {
    let build = actions(&bare_debian(), Want::Build);
    assert_eq!(
        build,
        [
            "apt-get install --no-install-recommends rustc-web cargo-web rust-web-src \
             llvm-22-dev libzstd-dev",
            "cargo install bpf-linker 0.13.0, into target/tools",
        ]
    );
    let test = actions(&bare_debian(), Want::Test { vm: true });
    assert!(test[0].ends_with("iproute2 util-linux bpftool qemu-system-x86 busybox-static cpio"));
    let test = actions(&bare_debian(), Want::Test { vm: false });
    assert!(test[0].ends_with("libzstd-dev iproute2 util-linux bpftool"));
    let lab = actions(&bare_debian(), Want::Lab);
    assert!(lab[0].ends_with("libzstd-dev iproute2 util-linux"));
}

#[test]
fn rustup_installs_what_debian_does_not() {
    let host = Host { linkers: vec![linker("path", 22, true)], ..user() };
    let whole = ["rustup toolchain install nightly --component rust-src"];
    assert_eq!(actions(&host, Want::Build), whole);
    let host = Host { rustup: rustup(Some(rustc("nightly", 22, false))), ..host };
    let sources = ["rustup component add rust-src --toolchain nightly"];
    assert_eq!(actions(&host, Want::Build), sources);
}

#[test]
fn debian_without_root_is_told_the_packages() {
    let host = Host { root: false, rustup: None, ..bare_debian() };
    let message = refusal(&host, true);
    assert!(message.contains("rustc-web cargo-web rust-web-src"));
    assert!(message.contains("as root: apt-get install --no-install-recommends llvm-22-dev"));
}

#[test]
fn a_machine_with_nothing_is_told_everything_at_once() {
    let message = refusal(&Host::default(), true);
    assert!(message.contains("rustup toolchain install nightly --component rust-src"));
    assert!(message.contains("cargo binstall bpf-linker"));
}

#[test]
fn no_install_names_what_it_would_have_installed() {
    let message = refusal(&bare_debian(), false);
    assert!(message.contains("--no-install"));
    assert!(message.contains("rustc-web"));
    assert!(message.contains("bpf-linker 0.13.0"));
}

#[test]
fn the_linker_must_read_what_the_compiler_writes() {
    let mut host = Host {
        rustup: rustup(Some(rustc("nightly", 22, true))),
        linkers: vec![linker("old", 21, false)],
        can_build_linker: true,
        ..user()
    };
    let build = ["cargo install bpf-linker 0.13.0, into target/tools"];
    assert_eq!(actions(&host, Want::Build), build);
    host.linkers.push(linker("plain", 22, false));
    assert_eq!(ready(&host).1, "plain");
    host.linkers.push(linker("full", 22, true));
    assert_eq!(ready(&host).1, "full");
}

#[test]
fn a_compiler_too_new_for_every_linker_is_passed_over() {
    let mut host = Host {
        rustup: rustup(Some(rustc("nightly", 23, true))),
        system: Some(rustc("/usr/bin/rustc", 22, true)),
        linkers: vec![linker("path", 22, true)],
        ..user()
    };
    assert_eq!(ready(&host).0, "/usr/bin/rustc");
    host.system = None;
    assert!(refusal(&host, true).contains("a bpf-linker with LLVM 23"));
    host.linkers.push(linker("newer", 23, true));
    assert_eq!(ready(&host), ("nightly".into(), "newer".into()));
}

#[test]
fn a_compiler_too_old_is_passed_over() {
    let mut old = rustc("/usr/bin/rustc", 14, true);
    old.version = (1, 63);
    let host =
        Host { system: Some(old), rustup: None, linkers: vec![linker("path", 22, true)], ..user() };
    assert!(refusal(&host, true).contains("is 1.63, older than"));
}

/// Everything for a build is here, and no server for the suites; not root.
fn without_servers() -> Host {
    Host {
        rustup: rustup(Some(rustc("nightly", 22, true))),
        linkers: vec![linker("path", 22, true)],
        apt: true,
        servers: vec!["nginx", "nftables"],
        ..user()
    }
}

#[test]
fn servers_are_unpacked_for_tests_alone_and_without_root() {
    let unpack = ["apt-get download nginx nftables, unpacked into target/tools/debian"];
    for vm in [false, true] {
        assert_eq!(actions(&without_servers(), Want::Test { vm }), unpack);
    }
    for want in [Want::Build, Want::Lab] {
        assert!(matches!(decide(&without_servers(), want, false), Decision::Ready(_)));
    }
    let here = Host { servers: Vec::new(), ..without_servers() };
    assert!(matches!(decide(&here, Want::Test { vm: true }, false), Decision::Ready(_)));
}

#[test]
fn what_the_benchmark_runs_is_unpacked_for_it_alone() {
    let host = Host { servers: Vec::new(), rivals: vec!["haproxy"], ..without_servers() };
    let unpack = ["apt-get download haproxy, unpacked into target/tools/debian"];
    assert_eq!(actions(&host, Want::Bench), unpack);
    for want in [Want::Build, Want::Lab, Want::Test { vm: true }] {
        assert!(matches!(decide(&host, want, false), Decision::Ready(_)));
    }
}

#[test]
fn servers_that_may_not_or_cannot_be_fetched_are_named() {
    let test = Want::Test { vm: false };
    let Decision::Refuse(forbidden) = decide(&without_servers(), test, false) else {
        panic!("not refused");
    };
    assert!(forbidden.contains("--no-install") && forbidden.contains("nginx nftables"));
    let Decision::Refuse(other) = decide(&Host { apt: false, ..without_servers() }, test, true)
    else {
        panic!("not refused");
    };
    assert!(other.contains("what Debian packages as: nginx, nftables"));
}
