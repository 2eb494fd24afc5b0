//! The kernel suites on Debian 12's kernel 6.1, the oldest that we promise: which kernel,
//! what goes into its initramfs, how it is run, and how its outcome is read.

use crate::apt;
use crate::paths::{Paths, which};
use crate::process::{self, output, step};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Boot and suites under emulation; a hang is what ends it.
const TIMEOUT: Duration = Duration::from_secs(480);
const METAPACKAGE: &str = "linux-image-cloud-amd64";
const KERNEL_PREFIX: &str = "linux-image-6.1.";
/// What Debian's kernel has as modules and the suites `attach` and `road` need.
const MODULES: [&str; 8] = ["veth", "bridge", "8021q", "ipip", "sit", "ip6_tunnel", "fou", "fou6"];
/// The programs of ours that go in.
const PROGRAMS: [&str; 2] = ["suites", "understudy"];
/// Those of this machine, of iproute2 and util-linux: busybox has less of them.
const TOOLS: [&str; 3] = ["ip", "nsenter", "setpriv"];
/// How init says that the suites ended, and how.
const ENDED: &str = "suites ended with status ";

/// Boots and runs `suites --vm`. Returns the last line that reads like a summary, and
/// whether the suites succeeded.
pub(crate) fn run(paths: &Paths) -> Result<(Option<String>, bool)> {
    let dir = paths.target.join("vm");
    fs::create_dir_all(&dir)?;
    let kernel = kernel(paths, &dir)?;
    let initramfs = initramfs(paths, &dir, &kernel)?;
    boot(&kernel, &initramfs)
}

/// An unpacked kernel package.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
}

/// The kernel, downloaded at the first call only.
fn kernel(paths: &Paths, dir: &Path) -> Result<Kernel> {
    let root = dir.join("kernel");
    if !root.exists() {
        let deb = download(paths, dir)?;
        // Renamed when complete: what is there is whole.
        let partial = dir.join("kernel.partial");
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&deb).arg(&partial);
        process::run(&mut unpack)?;
        fs::rename(&partial, &root)?;
    }
    let image = find(&root.join("boot"), |name| name.starts_with("vmlinuz-6.1."))?;
    let modules = root.join("lib/modules");
    Ok(Kernel { image, modules })
}

/// Downloads the package through the machine's own sources: with its lists if they know
/// the kernel, else with new ones.
fn download(paths: &Paths, dir: &Path) -> Result<PathBuf> {
    let downloaded = apt::with_lists(paths, dir, |options| {
        let mut show = Command::new("apt-cache");
        show.args(options).args(["show", METAPACKAGE]);
        let Some(package) = output(&mut show).as_deref().and_then(package_name) else {
            return Ok(None);
        };
        let mut get = Command::new("apt-get");
        get.args(options).args(["download", &package]);
        let what = format!("downloading {package}");
        // Old lists may name what is no longer there.
        Ok(step(paths, &what, "vm-download", get.current_dir(dir)).ok().map(|()| package))
    })?;
    let Some(package) = downloaded else {
        bail!(
            "this machine's package sources have no kernel 6.1 ({METAPACKAGE} of Debian 12); \
             --no-vm leaves it out"
        );
    };
    find(dir, |name| name.starts_with(&package))
}

/// The kernel's package among what the metapackage's versions depend on.
fn package_name(show: &str) -> Option<String> {
    let depends = show.lines().filter_map(|l| l.strip_prefix("Depends: "));
    let mut words = depends.flat_map(|line| line.split([' ', ',']));
    Some(words.find(|word| word.starts_with(KERNEL_PREFIX))?.into())
}

/// Programs, the libraries they need, modules and an init, packed.
fn initramfs(paths: &Paths, dir: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let root = dir.join("initramfs");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "tools", "dev", "lib/modules", "proc", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(root.join(name))?;
    }
    let mut files = vec![(which("busybox").context("no busybox")?, "bin/busybox".into())];
    files.extend(PROGRAMS.map(|name| (paths.program(name), format!("tools/{name}"))));
    for name in TOOLS {
        let tool = which(name).with_context(|| format!("no {name}"))?;
        files.push((tool, format!("tools/{name}")));
    }
    let mut libraries = BTreeSet::new();
    for (from, to) in &files {
        copy(from, &root.join(to))?;
        libraries.extend(shared_libraries(from));
    }
    for library in libraries {
        let inside = library.strip_prefix("/").unwrap_or(&library);
        copy(&library, &root.join(inside))?;
    }
    let mut order = Vec::new();
    for name in MODULES {
        add_module(&kernel.modules, name, &mut order)?;
    }
    for module in &order {
        let name = module.file_name().context("a module without a name")?;
        copy(module, &root.join("lib/modules").join(name))?;
    }
    let init = root.join("init");
    fs::write(&init, init_script(&order))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    pack(&root, dir.join("initramfs.cpio"))
}

fn pack(root: &Path, archive: PathBuf) -> Result<PathBuf> {
    let mut cpio = Command::new("sh");
    let script = "cd \"$1\" && find . | cpio -o -H newc -R 0:0 --quiet > \"$2\"";
    cpio.args(["-c", script, "sh"]).arg(root).arg(&archive);
    process::run(&mut cpio)?;
    Ok(archive)
}

/// What `ldd` names by its path; a static program has none.
fn shared_libraries(program: &Path) -> Vec<PathBuf> {
    let text = output(Command::new("ldd").arg(program)).unwrap_or_default();
    let words = text.split_whitespace();
    let paths = words.filter(|word| word.starts_with('/') && !word.ends_with(':'));
    paths.map(PathBuf::from).collect()
}

/// Adds a module behind those that it depends on.
fn add_module(dir: &Path, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
    let wanted = format!("{}.ko", name.replace('-', "_"));
    let file = find(dir, |file| file.replace('-', "_") == wanted)?;
    if order.contains(&file) {
        return Ok(());
    }
    for needed in dependencies(&fs::read(&file)?) {
        add_module(dir, &needed, order)?;
    }
    order.push(file);
    Ok(())
}

/// A module names what it depends on in its own text: `depends=a,b`, ended by a zero.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next();
    let text = String::from_utf8_lossy(value.unwrap_or_default());
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn init_script(modules: &[PathBuf]) -> String {
    let names = modules.iter().filter_map(|module| module.file_name());
    let loads: String =
        names.map(|name| format!("insmod /lib/modules/{}\n", name.to_string_lossy())).collect();
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/tools:/bin HOME=/ RUST_BACKTRACE=1\n\
         /bin/busybox --install -s /bin\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t devtmpfs devtmpfs /dev\n\
         mount -t tmpfs tmpfs /tmp\n\
         mount -t tmpfs tmpfs /run\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         {loads}\
         ip link set lo up\n\
         echo \"kernel $(uname -r)\"\n\
         suites --vm\n\
         echo \"{ENDED}$?\"\n\
         poweroff -f\n"
    )
}

/// Emulated, so that it needs neither root nor a processor that can nest.
fn boot(kernel: &Kernel, initramfs: &Path) -> Result<(Option<String>, bool)> {
    let mut qemu = Command::new(which("qemu-system-x86_64").context("no qemu-system-x86_64")?);
    qemu.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel"])
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = qemu.spawn().context("starting qemu")?;
    let console = child.stdout.take().context("qemu without a console")?;

    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut lines = Vec::new();
        let echoed = process::echo(console, |line| lines.push(line.to_owned()));
        // The receiver may have given up.
        let _ = sender.send(());
        echoed.map(|()| lines)
    });
    let ended = receiver.recv_timeout(TIMEOUT).is_ok();
    if !ended {
        child.kill()?;
    }
    child.wait()?;
    let lines = match reader.join() {
        Ok(lines) => lines?,
        Err(_) => bail!("reading the console failed"),
    };
    if !ended {
        bail!("no end after {} s: killed", TIMEOUT.as_secs());
    }
    outcome(&lines)
}

/// The suites' summary and their status, in what the console said.
fn outcome(lines: &[String]) -> Result<(Option<String>, bool)> {
    let status = lines.iter().rev().find_map(|line| line.strip_prefix(ENDED));
    let Some(status) = status else {
        bail!("the kernel stopped before the suites ended");
    };
    let is_summary = |line: &&String| crate::test::summary(line).is_some();
    let last = lines.iter().rev().find(is_summary).cloned();
    Ok((last, status.trim() == "0"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let copied = fs::copy(from, to).map(drop);
    copied.with_context(|| format!("copying {}", from.display()))
}

/// The first file below the directory whose name fits.
fn find(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let mut open = vec![dir.to_path_buf()];
    while let Some(next) = open.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if fits(&entry.file_name().to_string_lossy()) {
                return Ok(entry.path());
            }
        }
    }
    bail!("nothing that fits in {}", dir.display())
}

#[cfg(test)]
mod tests {
    use super::{dependencies, outcome, package_name};

    #[test]
    fn the_kernel_is_a_6_1_whatever_else_is_offered() {
        let show = "Version: 6.12.9-1\nDepends: linux-image-6.12.9-cloud-amd64 (= 6.12.9-1)\n\n\
                    Version: 6.1.192-2\nDepends: x, linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        let expected = Some("linux-image-6.1.0-56-cloud-amd64".to_owned());
        assert_eq!(package_name(show), expected);
        assert_eq!(package_name("Version: 1\n"), None);
    }

    #[test]
    fn a_module_tells_its_dependencies() {
        assert_eq!(dependencies(b"\0license=GPL\0depends=a,b_c\0"), ["a", "b_c"]);
        assert!(dependencies(b"\0depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn a_console_without_an_end_is_a_failure() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let good = lines("x\n3 passed, 0 failed\nsuites ended with status 0\n");
        let (last, success) = outcome(&good).expect("an outcome");
        assert_eq!((last.as_deref(), success), (Some("3 passed, 0 failed"), true));
        let bad = lines("0 passed, 1 failed\nsuites ended with status 1\n");
        assert!(!outcome(&bad).expect("an outcome").1);
        assert!(outcome(&lines("3 passed, 0 failed\nKernel panic\n")).is_err());
    }
}
