//! Where things are: the workspace, its target directory, and programs on this machine.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The workspace and where its output goes.
pub(crate) struct Paths {
    /// The directory of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, absolute.
    pub(crate) target: PathBuf,
}

impl Paths {
    /// Reads the environment that cargo gives to `cargo run`.
    pub(crate) fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask has no parent directory")?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        Ok(Self { root: root.to_path_buf(), target })
    }

    /// The XDP object that userspace embeds.
    pub(crate) fn object(&self) -> PathBuf {
        self.target.join("bpf/understudy.o")
    }

    /// A program of this workspace, as `build` leaves it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where the tools are that xtask builds for itself.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Where Debian's programs for the tests are unpacked; the suites look for them beside their
    /// own directory.
    pub(crate) fn debian(&self) -> PathBuf {
        self.tools().join("debian")
    }

    /// The log of one long-running step.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask-logs").join(format!("{name}.log"))
    }
}

/// Every place where the program is: in PATH order, then in the directories of system
/// programs, which ordinary users do not have in PATH.
pub(crate) fn which_all(program: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .filter(|file| is_program(file))
        .collect();
    let mut seen = std::collections::HashSet::new();
    found.retain(|file| seen.insert(file.clone()));
    found
}

/// The first place where the program is.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    which_all(program).into_iter().next()
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
