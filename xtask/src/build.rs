//! How the XDP object and the programs that embed it are built.

use crate::linker::MISALIGNED;
use crate::paths::Paths;
use crate::process::{self, foreign};
use crate::toolchain::Ready;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What to build.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Compile the XDP program's log lines in.
    #[arg(long)]
    log: bool,
}

const TARGET: &str = "bpfel-unknown-none";
const BINARY: &str = "understudy-xdp";
const BENCH_BINARY: &str = "understudy-bench";

/// How much of userspace to build.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// The programs, less xtask, which runs now.
    Programs,
    /// Programs and tests: dependencies have the features that both want, and are built
    /// once for both.
    Everything,
}

/// Builds the object, then userspace with the object in it.
pub(crate) fn build(paths: &Paths, ready: &Ready, args: &Args, scope: Scope) -> Result<()> {
    object(paths, ready, args)?;
    let mut cargo = process::cargo(paths);
    cargo.args(["build", "--release", "--workspace"]);
    match scope {
        Scope::Programs => cargo.args(["--bins", "--exclude", "xtask"]),
        Scope::Everything => cargo.arg("--all-targets"),
    };
    process::run(cargo.env("UNDERSTUDY_OBJECT", paths.object()))
}

/// Builds the object with the benchmark's own programs. Returns where it is.
pub(crate) fn bench_object(paths: &Paths, ready: &Ready) -> Result<PathBuf> {
    compile(paths, ready, "kernel", BENCH_BINARY)
}

/// Builds the XDP object and puts it where `Paths::object` says.
fn object(paths: &Paths, ready: &Ready, args: &Args) -> Result<()> {
    let built = compile(paths, ready, if args.log { "kernel,log" } else { "kernel" }, BINARY)?;
    let new = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    let object = paths.object();
    // An unchanged file keeps its time, and what embeds it is not built again.
    if fs::read(&object).ok().as_ref() != Some(&new) {
        fs::write(&object, new).with_context(|| format!("writing {}", object.display()))?;
    }
    Ok(())
}

/// Compiles a binary for the kernel. Returns where it is.
fn compile(paths: &Paths, ready: &Ready, features: &str, binary: &str) -> Result<PathBuf> {
    let directory = paths.target.join("bpf");
    let mut cargo = foreign(Command::new(&ready.rustc.cargo), paths);
    cargo
        .current_dir(&paths.root)
        .args(["build", "--release", "-Z", "build-std=core"])
        .args(["--target", TARGET, "-p", "lb-ebpf", "--bin", binary])
        .args(["--features", features, "--target-dir"])
        .arg(&directory)
        .env("RUSTC", &ready.rustc.path)
        // `-Z` on a compiler that is not a nightly.
        .env("RUSTC_BOOTSTRAP", "1")
        // Whatever the user's own settings are: the verifier is particular about what comes out.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(ready).join("\u{1f}"));
    process::run(&mut cargo)?;
    Ok(directory.join(TARGET).join("release").join(binary))
}

fn flags(ready: &Ready) -> Vec<String> {
    let mut flags = vec![
        // The linker makes BTF from it.
        "-Cdebuginfo=2".into(),
        // 32-bit arithmetic and jumps, atomics that fetch; kernels since 5.12.
        "-Ctarget-cpu=v3".into(),
        format!("-Clinker={}", ready.linker.path.display()),
        "-Clink-arg=--btf".into(),
    ];
    if ready.linker.misaligned {
        flags.push(format!("-Clink-arg={MISALIGNED}"));
    } else {
        let linker = ready.linker.path.display();
        eprintln!("note: {linker} knows no misaligned loads; the object will be slower");
    }
    flags
}
