//! Debian's programs that `cargo xtask` unpacked for the suites and the benchmark, or those of this
//! machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::process::Start;

/// A program, to be started in the namespace that a file stands for.
///
/// # Errors
/// If it is neither installed nor unpacked.
pub fn program(namespace: &Path, name: &str) -> Result<Start> {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(file) = installed.map(|dir| dir.join(name)).find(|file| file.exists()) {
        return Ok(Start::new(namespace, &file));
    }
    let root = unpacked()?;
    let file = root.join("usr/sbin").join(name);
    if !file.exists() {
        bail!(
            "no {name}, neither on PATH nor as {}; cargo xtask test, or bench, gets it",
            file.display()
        );
    }
    let libraries = env::join_paths(libraries(&root)).context("naming directories of libraries")?;
    Ok(Start::new(namespace, &file).env("LD_LIBRARY_PATH", &libraries))
}

/// A file of a package, by its path without the leading slash: the installed one or the unpacked one.
///
/// # Errors
/// If there is neither.
pub fn file(path: &str) -> Result<PathBuf> {
    let places = [PathBuf::from("/"), unpacked()?];
    let file = places.iter().map(|root| root.join(path)).find(|file| file.exists());
    file.with_context(|| format!("no {path}, neither installed nor below {}", places[1].display()))
}

/// Where xtask unpacks: `tools` beside the directory that this program was built into.
fn unpacked() -> Result<PathBuf> {
    let this = env::current_exe().context("finding this program's own file")?;
    let target = this.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(target.join("tools/debian"))
}

/// The directories of libraries, one a hardware architecture, in what was unpacked.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let places = ["usr/lib", "lib"].into_iter().filter_map(|dir| fs::read_dir(root.join(dir)).ok());
    places.flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
