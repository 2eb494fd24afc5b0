//! Real programs that the suites run in namespaces: Debian's, downloaded and unpacked, never
//! installed. To install nginx would start a service on the user's machine.

use crate::apt;
use crate::paths::{Paths, which};
use crate::process::{self, output, step};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs, each with Debian's package that has it.
const PROGRAMS: [(&str, &str); 3] =
    [("nginx", "nginx"), ("dnsmasq", "dnsmasq-base"), ("nft", "nftables")];

/// Packages to fetch: none if each program is on PATH or unpacked already.
pub(crate) fn missing(paths: &Paths) -> Vec<&'static str> {
    let unpacked = paths.debian().join("usr/sbin");
    let wanted = PROGRAMS.iter().filter(|(program, _)| which(program).is_none());
    if wanted.clone().all(|(program, _)| unpacked.join(program).exists()) {
        return Vec::new();
    }
    wanted.map(|(_, package)| *package).collect()
}

/// Downloads the packages and those libraries of theirs that this machine lacks, and unpacks them
/// all into [`Paths::debian`], which needs no root.
pub(crate) fn fetch(paths: &Paths, packages: &[&str]) -> Result<()> {
    let work = paths.tools().join("debian.partial");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let (archives, root) = (work.join("archives"), work.join("root"));
    fs::create_dir_all(&archives)?;
    let downloaded = apt::with_lists(paths, &work, |options| {
        let mut simulate = Command::new("apt-get");
        simulate.args(options).args(["--simulate", "--no-install-recommends", "install"]);
        let Some(names) = output(simulate.args(packages)).map(|text| to_install(&text)) else {
            return Ok(None);
        };
        let mut get = Command::new("apt-get");
        get.args(options).arg("download").args(&names).current_dir(&archives);
        let what = format!("downloading {} Debian packages", names.len());
        // Old lists may name what is no longer there.
        Ok(step(paths, &what, "servers-download", &mut get).ok())
    })?;
    if downloaded.is_none() {
        bail!("this machine's package sources have not all of: {}", packages.join(", "));
    }
    for archive in files(&archives)? {
        let mut unpack = Command::new("dpkg-deb");
        process::run(unpack.arg("-x").arg(archive).arg(&root))?;
    }
    // Renamed when complete: what is there is whole.
    let place = paths.debian();
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    fs::rename(&root, &place)?;
    Ok(fs::remove_dir_all(&work)?)
}

/// What a simulated installation would install: `Inst NAME …`.
fn to_install(simulated: &str) -> Vec<String> {
    let lines = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::to_install;

    #[test]
    fn a_simulation_tells_what_is_missing() {
        let text = "NOTE: This is only a simulation!\nReading package lists...\n\
                    Inst libx (1-2 Debian:12 [amd64])\nInst nginx [1] (2 Debian:12 [amd64]) []\n\
                    Conf libx (1-2 Debian:12 [amd64])\n";
        assert_eq!(to_install(text), ["libx", "nginx"]);
    }
}
