//! Real programs that the suites run in namespaces: Debian's, downloaded and unpacked, never
//! installed. To install nginx would start a service on the user's machine.

use crate::apt;
use crate::paths::{Paths, which};
use crate::process::{self, output, step};
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of a Debian package: its path below the root, and the package.
pub(crate) type Wanted = (&'static str, &'static str);

/// The programs that the suites run.
pub(crate) const TEST: [Wanted; 3] = [NGINX, DNSMASQ, NFT];
/// Those that the benchmark runs beside Understudy. Fetching replaces what is there, so the suites'
/// are among them.
pub(crate) const BENCH: [Wanted; 5] = [
    NGINX,
    DNSMASQ,
    NFT,
    ("usr/sbin/haproxy", "haproxy"),
    ("usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
];

const NGINX: Wanted = ("usr/sbin/nginx", "nginx");
const DNSMASQ: Wanted = ("usr/sbin/dnsmasq", "dnsmasq-base");
const NFT: Wanted = ("usr/sbin/nft", "nftables");

/// Packages to fetch: none if each file is installed, or a program on PATH, or unpacked already.
pub(crate) fn missing(paths: &Paths, wanted: &[Wanted]) -> Vec<&'static str> {
    let installed = |file: &str| {
        let name = file.rsplit('/').next().unwrap_or(file);
        which(name).is_some() || Path::new("/").join(file).exists()
    };
    let wanted = wanted.iter().filter(|(file, _)| !installed(file));
    if wanted.clone().all(|(file, _)| paths.debian().join(file).exists()) {
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
    use super::{BENCH, TEST, to_install};

    #[test]
    fn who_fetches_for_the_benchmark_has_what_the_suites_need() {
        assert!(TEST.iter().all(|wanted| BENCH.contains(wanted)));
    }

    #[test]
    fn a_simulation_tells_what_is_missing() {
        let text = "NOTE: This is only a simulation!\nReading package lists...\n\
                    Inst libx (1-2 Debian:12 [amd64])\nInst nginx [1] (2 Debian:12 [amd64]) []\n\
                    Conf libx (1-2 Debian:12 [amd64])\n";
        assert_eq!(to_install(text), ["libx", "nginx"]);
    }
}
