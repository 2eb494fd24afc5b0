//! `cargo xtask ci`: format, clippy over every crate, the eBPF binaries included, then all
//! tests. One profile for all, so that nothing is built twice.

use crate::paths::Paths;
use crate::{process, test};
use anyhow::Result;
use std::process::ExitCode;

/// The first check that fails ends it; tests run to their end.
pub(crate) fn ci(paths: &Paths, install: bool) -> Result<ExitCode> {
    process::run(process::cargo(paths).args(["fmt", "--all", "--check"]))?;
    // Without an object: this is also the check that a plain build needs no eBPF toolchain.
    clippy(paths, &["--workspace", "--all-targets"])?;
    // On the host's target: what only the kernel has is left out of the source there.
    for features in ["kernel", "kernel,log"] {
        clippy(paths, &["-p", "lb-ebpf", "--bins", "--features", features])?;
    }
    test::test(paths, &test::Args::default(), install)
}

fn clippy(paths: &Paths, what: &[&str]) -> Result<()> {
    let mut cargo = process::cargo(paths);
    cargo.args(["clippy", "--release", "--locked"]).args(what);
    cargo.args(["--", "-D", "warnings"]);
    process::run(&mut cargo)
}
