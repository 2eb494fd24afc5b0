//! Which compiler and linker build the eBPF crate, and what must be installed before they
//! can: pure functions of what the machine has.

use crate::host::{Host, Need, Rustc};
use crate::linker::{LLVM, Linker, VERSION};
use std::fmt;

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Build.
    Build,
    /// Build and run the lab.
    Lab,
    /// Build, and measure beside others.
    Bench,
    /// Build and run the tests, on kernel 6.1 too if `vm`.
    Test {
        /// Tests on kernel 6.1 are wanted.
        vm: bool,
    },
}

/// A compiler and a linker that fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Compiles the eBPF crate.
    pub(crate) rustc: Rustc,
    /// Links it.
    pub(crate) linker: Linker,
}

/// Something to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Debian packages.
    Packages(Vec<&'static str>),
    /// Debian packages with the servers of the suites, to be unpacked and not installed.
    Servers(Vec<&'static str>),
    /// rustup's toolchain of this name, with the standard library's sources.
    Toolchain(String),
    /// Those sources for a toolchain that is here; the toolchain itself stays as it is.
    Sources(String),
    /// Our own bpf-linker.
    Linker,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages(names) => write!(f, "{APT} {}", names.join(" ")),
            Self::Servers(names) => {
                let names = names.join(" ");
                write!(f, "apt-get download {names}, unpacked into target/tools/debian")
            }
            Self::Toolchain(name) => {
                write!(f, "rustup toolchain install {name} --component rust-src")
            }
            Self::Sources(name) => {
                write!(f, "rustup component add rust-src --toolchain {name}")
            }
            Self::Linker => write!(f, "cargo install bpf-linker {VERSION}, into target/tools"),
        }
    }
}

const APT: &str = "apt-get install --no-install-recommends";
const RUST_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const LLVM_PACKAGES: [&str; 2] = ["llvm-22-dev", "libzstd-dev"];

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing is missing.
    Ready(Ready),
    /// These are missing and can be installed, in this order.
    Install(Vec<Action>),
    /// Something is missing that we cannot or may not install: the whole message.
    Refuse(String),
}

/// Judges the host. With `install` false nothing may be installed.
pub(crate) fn decide(host: &Host, want: Want, install: bool) -> Decision {
    let mut needs = Needs::default();
    let rustc = compiler(host, &mut needs);
    let linker = linker(host, rustc.as_ref(), &mut needs);
    let wanted = match want {
        Want::Build => None,
        Want::Lab | Want::Bench => Some(Need::Lab),
        Want::Test { vm: false } => Some(Need::Test),
        Want::Test { vm: true } => Some(Need::Vm),
    };
    let tools = host.missing.iter().filter(|tool| Some(tool.need) <= wanted);
    needs.packages.extend(tools.map(|tool| tool.package));
    if wanted >= Some(Need::Test) {
        needs.servers.clone_from(&host.servers);
    } else if want == Want::Bench {
        needs.servers.clone_from(&host.rivals);
    }
    if let (Some(rustc), Some(linker), true) = (rustc, linker, needs.is_empty()) {
        return Decision::Ready(Ready { rustc, linker });
    }
    needs.decide(host, install)
}

/// What is missing, by who can help.
#[derive(Default)]
struct Needs {
    packages: Vec<&'static str>,
    servers: Vec<&'static str>,
    toolchain: Option<Action>,
    linker: bool,
    problems: Vec<String>,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.packages.is_empty()
            && self.servers.is_empty()
            && self.toolchain.is_none()
            && !self.linker
            && self.problems.is_empty()
    }

    fn decide(mut self, host: &Host, install: bool) -> Decision {
        let mut actions = Vec::new();
        if !host.apt {
            self.packages.append(&mut self.servers);
        }
        if !self.packages.is_empty() {
            if host.apt && host.root {
                actions.push(Action::Packages(self.packages));
            } else if host.apt {
                let names = self.packages.join(" ");
                self.problems.push(format!("as root: {APT} {names}"));
            } else {
                let names = self.packages.join(", ");
                let text = format!("what Debian packages as: {names}");
                self.problems.push(text);
            }
        }
        if !self.servers.is_empty() {
            actions.push(Action::Servers(self.servers));
        }
        actions.extend(self.toolchain);
        if self.linker {
            actions.push(Action::Linker);
        }
        if install && self.problems.is_empty() {
            return Decision::Install(actions);
        }
        let mut lines = self.problems;
        lines.extend(actions.iter().map(Action::to_string));
        let why = if install {
            "this machine lacks what only you can install:"
        } else {
            "this machine lacks, and --no-install forbids to install:"
        };
        Decision::Refuse(format!("{why}\n  - {}", lines.join("\n  - ")))
    }
}

/// The first compiler that can build `core`, if possible one that has a linker.
fn compiler(host: &Host, needs: &mut Needs) -> Option<Rustc> {
    if let Some(explicit) = &host.explicit {
        let judged = explicit.clone().and_then(|rustc| match objection(&rustc) {
            None => Ok(rustc),
            Some(why) => Err(why),
        });
        return judged
            .map_err(|why| needs.problems.push(format!("another $BPF_RUSTC: {why}")))
            .ok();
    }
    let newest = host.linkers.iter().map(|linker| linker.llvm).max();
    let newest = newest.unwrap_or(0).max(LLVM);
    let nightly = host.rustup.as_ref().and_then(|r| r.rustc.as_ref());
    let candidates = [nightly, host.system.as_ref()];
    let usable = || {
        let here = candidates.into_iter().flatten();
        here.filter(|rustc| objection(rustc).is_none())
    };
    if let Some(rustc) = usable().find(|rustc| rustc.llvm <= newest) {
        return Some(rustc.clone());
    }
    if host.debian_12 && host.apt && host.root {
        needs.packages.extend(RUST_PACKAGES);
        return None;
    }
    if let Some(rustc) = usable().next() {
        return Some(rustc.clone());
    }
    match (&host.rustup, nightly) {
        (Some(rustup), None) => needs.toolchain = Some(Action::Toolchain(rustup.name.clone())),
        (Some(rustup), Some(rustc)) if !rustc.sources => {
            needs.toolchain = Some(Action::Sources(rustup.name.clone()));
        }
        _ => needs.problems.push(no_compiler(host)),
    }
    None
}

/// Why this compiler cannot build the eBPF crate.
fn objection(rustc: &Rustc) -> Option<String> {
    let path = rustc.path.display();
    let (major, minor) = rustc.version;
    let least = least();
    if !rustc.sources {
        Some(format!("{path} has no sources of the standard library"))
    } else if rustc.version < least {
        let text = format!("{path} is {major}.{minor}, older than");
        Some(format!("{text} {}.{}", least.0, least.1))
    } else {
        None
    }
}

/// The oldest rustc of the workspace.
fn least() -> (u32, u32) {
    let mut parts = env!("CARGO_PKG_RUST_VERSION").split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (1, 0),
    }
}

fn no_compiler(host: &Host) -> String {
    let mut text = String::from("a Rust toolchain with the standard library's sources: ");
    text.push_str("rustup, then `rustup toolchain install nightly --component rust-src`");
    if host.debian_12 {
        let names = RUST_PACKAGES.join(" ");
        text.push_str(&format!("; or, as root, {APT} {names}"));
    }
    let nightly = host.rustup.as_ref().and_then(|r| r.rustc.as_ref());
    let here = [nightly, host.system.as_ref()].into_iter().flatten();
    for why in here.filter_map(objection) {
        text.push_str(&format!(" ({why})"));
    }
    text
}

/// A linker whose LLVM can read what the compiler writes; better one with all features.
fn linker(host: &Host, rustc: Option<&Rustc>, needs: &mut Needs) -> Option<Linker> {
    let least = rustc.map_or(LLVM, |rustc| rustc.llvm);
    let fits = || host.linkers.iter().filter(|linker| linker.llvm >= least);
    let found = fits().find(|linker| linker.misaligned).or(fits().next());
    if found.is_some() {
        return found.cloned();
    }
    if least > LLVM || (!host.can_build_linker && !host.debian_12) {
        let text = "on PATH (`cargo binstall bpf-linker`)";
        let text = format!("a bpf-linker with LLVM {least} or newer {text}");
        needs.problems.push(text);
        return None;
    }
    if !host.can_build_linker {
        needs.packages.extend(LLVM_PACKAGES);
    }
    needs.linker = true;
    None
}

#[cfg(test)]
#[path = "toolchain_tests.rs"]
mod tests;
