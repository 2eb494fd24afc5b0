//! What this machine has, as far as a build or a test depends on it: looked at once, kept
//! as a value, judged elsewhere.

use crate::linker::{self, Linker};
use crate::paths::{Paths, which};
use crate::process::{foreign, is_root, output};
use crate::servers;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// `$BPF_RUSTC`, or why it is none.
    pub(crate) explicit: Option<Result<Rustc, String>>,
    /// rustup, if it is here.
    pub(crate) rustup: Option<Rustup>,
    /// The system's own /usr/bin/rustc.
    pub(crate) system: Option<Rustc>,
    /// Linkers that passed their probe, in order of preference.
    pub(crate) linkers: Vec<Linker>,
    /// Everything is here to build our own linker, packages included.
    pub(crate) can_build_linker: bool,
    /// apt-get is here.
    pub(crate) apt: bool,
    /// Debian 12, whose archive has a new rustc with its sources, and LLVM 22.
    pub(crate) debian_12: bool,
    /// We are root.
    pub(crate) root: bool,
    /// Of the programs that a build does not need, those that are missing.
    pub(crate) missing: Vec<&'static Tool>,
    /// Packages to unpack for the suites' servers, if any of those is not here.
    pub(crate) servers: Vec<&'static str>,
    /// The same for what the benchmark runs.
    pub(crate) rivals: Vec<&'static str>,
}

/// rustup, and the toolchain in it that is meant for eBPF.
#[derive(Clone, Debug)]
pub(crate) struct Rustup {
    /// The toolchain's name.
    pub(crate) name: String,
    /// The toolchain itself, if it is installed.
    pub(crate) rustc: Option<Rustc>,
}

/// A Rust compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustc {
    /// The program.
    pub(crate) path: PathBuf,
    /// The cargo that goes with it.
    pub(crate) cargo: PathBuf,
    /// Its version, `(1, 96)`.
    pub(crate) version: (u32, u32),
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// The standard library's sources are with it.
    pub(crate) sources: bool,
}

/// A program that the lab or a test runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The program.
    pub(crate) program: &'static str,
    /// Debian's package that has it.
    pub(crate) package: &'static str,
    /// What needs it.
    pub(crate) need: Need,
}

/// What needs a tool; each includes what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// The lab.
    Lab,
    /// The tests on this kernel.
    Test,
    /// Those on kernel 6.1.
    Vm,
}

/// The programs that a build does not need. setpriv comes with nsenter.
pub(crate) const TOOLS: [Tool; 6] = [
    tool("ip", "iproute2", Need::Lab),
    tool("nsenter", "util-linux", Need::Lab),
    tool("bpftool", "bpftool", Need::Test),
    tool("qemu-system-x86_64", "qemu-system-x86", Need::Vm),
    tool("busybox", "busybox-static", Need::Vm),
    tool("cpio", "cpio", Need::Vm),
];

const fn tool(program: &'static str, package: &'static str, need: Need) -> Tool {
    Tool { program, package, need }
}

impl Host {
    /// Looks at this machine.
    pub(crate) fn probe(paths: &Paths) -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self {
            explicit: env::var_os("BPF_RUSTC").map(|path| explicit(paths, &path)),
            rustup: rustup(paths),
            system: rustc(paths, Path::new("/usr/bin/rustc")),
            linkers: linker::find(paths),
            can_build_linker: linker::can_build(),
            apt: which("apt-get").is_some(),
            debian_12: is_debian_12(&release),
            root: is_root(),
            missing: TOOLS.iter().filter(|tool| which(tool.program).is_none()).collect(),
            servers: servers::missing(paths, &servers::TEST),
            rivals: servers::missing(paths, &servers::BENCH),
        }
    }
}

fn explicit(paths: &Paths, path: &OsStr) -> Result<Rustc, String> {
    rustc(paths, Path::new(path)).ok_or_else(|| format!("{} does not run", path.display()))
}

/// `$BPF_TOOLCHAIN` names another toolchain than nightly, a dated or a linked one.
fn rustup(paths: &Paths) -> Option<Rustup> {
    let rustup = which("rustup")?;
    let name = env::var("BPF_TOOLCHAIN").unwrap_or_else(|_| "nightly".into());
    let mut command = foreign(Command::new(rustup), paths);
    // Looking must not install: rustup may do that when a toolchain is not here.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command.args(["run", &name, "rustc", "--print", "sysroot"]);
    let rustc = output(&mut command)
        .and_then(|sysroot| rustc(paths, &Path::new(sysroot.trim()).join("bin/rustc")));
    Some(Rustup { name, rustc })
}

fn rustc(paths: &Paths, path: &Path) -> Option<Rustc> {
    let ask = |arguments: &[&str]| {
        let mut command = foreign(Command::new(path), paths);
        output(command.args(arguments))
    };
    let (version, llvm) = versions(&ask(&["-vV"])?)?;
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
    let own = [path.with_file_name("cargo"), sysroot.join("bin/cargo")];
    let outer = || env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from);
    Some(Rustc {
        path: path.to_path_buf(),
        cargo: own.into_iter().find(|c| c.exists()).unwrap_or_else(outer),
        version,
        llvm,
        sources: sysroot.join("lib/rustlib/src/rust/library/core").is_dir(),
    })
}

/// The versions of rustc and of its LLVM in what `rustc -vV` says.
fn versions(text: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let mut release = field("release: ")?.split('.');
    let version = (release.next()?.parse().ok()?, release.next()?.parse().ok()?);
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((version, llvm))
}

fn is_debian_12(os_release: &str) -> bool {
    let has = |wanted: &str| os_release.lines().any(|line| line.replace('"', "") == wanted);
    has("ID=debian") && has("VERSION_ID=12")
}

#[cfg(test)]
mod tests {
    use super::{is_debian_12, versions};

    #[test]
    fn rustc_says_its_versions() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(text), Some(((1, 97), 22)));
        assert_eq!(versions("not a compiler"), None);
    }

    #[test]
    fn debian_12_is_told_from_others() {
        assert!(is_debian_12("NAME=\"Debian\"\nVERSION_ID=\"12\"\nID=debian\n"));
        assert!(!is_debian_12("VERSION_ID=\"13\"\nID=debian\n"));
        assert!(!is_debian_12("VERSION_ID=\"12\"\nID=other\nID_LIKE=debian\n"));
    }
}
