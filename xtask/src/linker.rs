//! Which bpf-linkers are here and what they can do, found by trying them; and how ours is
//! built when none will do.

use crate::paths::{Paths, which_all};
use crate::process::{self, output};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

/// The bpf-linker that we build.
pub(crate) const VERSION: &str = "0.13.0";
/// The LLVM that we build it with.
pub(crate) const LLVM: u32 = 22;
/// Where Debian's packages put that LLVM.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// One load for an unaligned word instead of one for each byte.
pub(crate) const MISALIGNED: &str = "--cpu-features=+allows-misaligned-mem-access";

/// A bpf-linker that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Linker {
    /// The program.
    pub(crate) path: PathBuf,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// Does it accept [`MISALIGNED`]?
    pub(crate) misaligned: bool,
}

/// The smallest module that makes LLVM build a target machine and look at its features.
const PROBE: &str = "target triple = \"bpfel\"\ndefine i32 @probe() {\n  ret i32 0\n}\n";

/// All linkers that work: those in PATH, then our own.
pub(crate) fn find(paths: &Paths) -> Vec<Linker> {
    let mut candidates = which_all("bpf-linker");
    candidates.push(paths.tools().join("bin/bpf-linker"));
    candidates.into_iter().filter_map(|path| probe_cached(paths, path)).collect()
}

/// Can ours be built without installing packages?
pub(crate) fn can_build() -> bool {
    let prefix = Path::new(LLVM_PREFIX);
    prefix.join("bin/llvm-config").exists()
        && prefix.join("lib/libLLVM.so").exists()
        && Path::new("/usr/include/zstd.h").exists()
}

/// Builds ours into target/tools.
pub(crate) fn build(paths: &Paths) -> Result<()> {
    let mut command = process::cargo(paths);
    command
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(paths.tools())
        .env("LLVM_PREFIX", LLVM_PREFIX)
        .env("LLVM_SYS_221_PREFIX", LLVM_PREFIX)
        // Its dependencies go to a place of their own: `install` has its own profile.
        .env("CARGO_TARGET_DIR", paths.tools().join("build"));
    let what = format!("building bpf-linker {VERSION}");
    process::step(paths, &what, "bpf-linker", &mut command)?;
    fs::remove_dir_all(paths.tools().join("build")).context("removing bpf-linker's build files")
}

/// Trying a linker takes a moment; the outcome is kept for as long as the file is the same.
fn probe_cached(paths: &Paths, path: PathBuf) -> Option<Linker> {
    let meta = path.metadata().ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let key = format!("{}\t{}\t{}", path.display(), changed.as_nanos(), meta.len());
    let file = paths.tools().join("linkers");
    let known = fs::read_to_string(&file).unwrap_or_default();
    if let Some(found) = known.lines().find_map(|line| recall(line, &key, &path)) {
        return Some(found);
    }
    let linker = probe(paths, path)?;
    let line = format!("{key}\t{}\t{}\n", linker.llvm, linker.misaligned);
    // Without the cache the next call probes again: nothing is lost.
    let _ = fs::write(&file, known + &line);
    Some(linker)
}

fn recall(line: &str, key: &str, path: &Path) -> Option<Linker> {
    let (llvm, misaligned) = line.strip_prefix(key)?.strip_prefix('\t')?.split_once('\t')?;
    Some(Linker {
        path: path.to_path_buf(),
        llvm: llvm.parse().ok()?,
        misaligned: misaligned.parse().ok()?,
    })
}

fn probe(paths: &Paths, path: PathBuf) -> Option<Linker> {
    let dir = paths.tools();
    fs::create_dir_all(&dir).ok()?;
    let input = dir.join("probe.ll");
    fs::write(&input, PROBE).ok()?;
    let command = || {
        let mut command = Command::new(&path);
        command.args(["--cpu", "v3", "--btf", "-o"]);
        command.arg(dir.join("probe.o")).arg(&input);
        command
    };
    let llvm = llvm_version(&output(command().arg("--llvm-args=--version"))?)?;
    // An unknown feature is ignored with a complaint, or refused: neither is support.
    let tried = command().arg(MISALIGNED).stdin(Stdio::null()).output().ok()?;
    let said = [tried.stdout, tried.stderr].concat();
    let complained = String::from_utf8_lossy(&said).contains("not a recognized feature");
    let misaligned = tried.status.success() && !complained;
    // The one that refuses the feature must at least link without it.
    (misaligned || output(&mut command()).is_some()).then_some(Linker {
        path: path.clone(),
        llvm,
        misaligned,
    })
}

/// The major version in LLVM's own `--version` text.
fn llvm_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("LLVM version ")?;
    rest.split('.').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Linker, llvm_version, recall};
    use std::path::{Path, PathBuf};

    #[test]
    fn llvm_says_its_version() {
        let debian = "Debian LLVM version 22.1.8\n  Optimized build.\n";
        assert_eq!(llvm_version(debian), Some(22));
        let own = "LLVM (http://llvm.org/):\n  LLVM version 21.0.0git\n";
        assert_eq!(llvm_version(own), Some(21));
        assert_eq!(llvm_version("bpf-linker 0.9"), None);
    }

    #[test]
    fn a_changed_file_is_probed_again() {
        let path = Path::new("/x/bpf-linker");
        let line = "/x/bpf-linker\t17\t900\t22\ttrue";
        let known = Linker { path: PathBuf::from("/x/bpf-linker"), llvm: 22, misaligned: true };
        assert_eq!(recall(line, "/x/bpf-linker\t17\t900", path), Some(known));
        assert_eq!(recall(line, "/x/bpf-linker\t18\t900", path), None);
        assert_eq!(recall(line, "/x/bpf-linker\t17\t90", path), None);
    }
}
