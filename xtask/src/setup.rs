//! Makes sure that what a command needs is here: looks, asks once on a terminal, installs,
//! and looks again.

use crate::host::Host;
use crate::linker;
use crate::paths::{Paths, which};
use crate::process::{foreign, step};
use crate::servers;
use crate::toolchain::{Action, Decision, Ready, Want, decide};
use anyhow::{Context, Result, bail};
use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::Command;

/// What to make ready for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which command to make ready for.
    #[arg(long = "for", value_name = "COMMAND", default_value = "build")]
    purpose: Purpose,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Purpose {
    /// build, and run with a configuration
    Build,
    /// run, which is the lab
    Run,
    /// test and ci
    Test,
}

/// The command `setup`.
pub(crate) fn command(paths: &Paths, args: &Args, install: bool) -> Result<()> {
    let want = match args.purpose {
        Purpose::Build => Want::Build,
        Purpose::Run => Want::Lab,
        Purpose::Test => Want::Test { vm: true },
    };
    let ready = setup(paths, want, install)?;
    let (major, minor) = ready.rustc.version;
    let rustc = ready.rustc.path.display();
    let linker = ready.linker.path.display();
    println!("rustc {major}.{minor}, LLVM {}: {rustc}", ready.rustc.llvm);
    println!("bpf-linker, LLVM {}: {linker}", ready.linker.llvm);
    Ok(())
}

/// A compiler and a linker for eBPF, and whatever else is wanted; installed if missing.
pub(crate) fn setup(paths: &Paths, want: Want, install: bool) -> Result<Ready> {
    let mut done: Vec<Action> = Vec::new();
    loop {
        let actions = match decide(&Host::probe(paths), want, install) {
            Decision::Ready(ready) => return Ok(ready),
            Decision::Refuse(message) => bail!("{message}"),
            Decision::Install(actions) => actions,
        };
        if let Some(action) = actions.iter().find(|action| done.contains(action)) {
            bail!("installed, and still not usable: {action}");
        }
        // What follows from the first consent is not asked again.
        if done.is_empty() && !consent(&actions)? {
            bail!("nothing was installed");
        }
        for action in actions {
            carry_out(paths, &action)?;
            done.push(action);
        }
    }
}

fn consent(actions: &[Action]) -> Result<bool> {
    eprintln!("This will be installed:");
    for action in actions {
        eprintln!("  - {action}");
    }
    let unattended = env::var_os("CI").is_some();
    if unattended || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(true);
    }
    eprint!("Go on? [Y/n] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer)? == 0 {
        return Ok(false);
    }
    let answer = answer.trim().to_lowercase();
    Ok(matches!(answer.as_str(), "" | "y" | "yes"))
}

fn carry_out(paths: &Paths, action: &Action) -> Result<()> {
    match action {
        Action::Packages(names) => packages(paths, names),
        Action::Servers(names) => servers::fetch(paths, names),
        Action::Toolchain(name) => {
            let arguments = ["toolchain", "install", name, "--component", "rust-src"];
            // The rest of the machine keeps the rustup that it has.
            let minimal = ["--profile", "minimal", "--no-self-update"];
            rustup(paths, &[&arguments[..], &minimal].concat())
        }
        Action::Sources(name) => {
            rustup(paths, &["component", "add", "rust-src", "--toolchain", name])
        }
        Action::Linker => linker::build(paths),
    }
}

fn rustup(paths: &Paths, arguments: &[&str]) -> Result<()> {
    let rustup = which("rustup").context("rustup is gone")?;
    let mut command = foreign(Command::new(rustup), paths);
    command.args(arguments);
    step(paths, "installing with rustup", "rustup", &mut command)
}

fn packages(paths: &Paths, names: &[&str]) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        // Another apt may be at work; it ends.
        command.args(["-o", "DPkg::Lock::Timeout=300"]);
        command.args(arguments);
        command
    };
    let update = &mut apt(&["update"]);
    // One unreachable source of many is no reason to stop: the install tells.
    if let Err(error) = step(paths, "updating the package lists", "apt-update", update) {
        eprintln!("warning: {error:#}");
    }
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    install.args(names);
    let what = format!("installing {} Debian packages", names.len());
    step(paths, &what, "apt-install", &mut install)
}
