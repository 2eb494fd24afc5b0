//! Runs suites of cases and counts: every case is reported, and what cannot run has failed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::OnceLock,
};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;

use crate::{clock::Moment, owner, stop::Stop};

/// Something that holds or does not.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name: `SUITE/CASE`.
    pub name: &'static str,
    /// Fails if it does not hold.
    pub run: fn() -> Result<()>,
    needs: Needs,
}

/// What a case cannot do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Needs {
    /// Root, a kernel and its bpf filesystem.
    Kernel,
    /// As `Kernel`, and a real processor.
    Speed,
    /// The tools to build a network, and the programs that are built with this one.
    Network,
    /// As `Network`, and devices that not every kernel has: Debian's does.
    Devices,
}

impl Case {
    /// A case that needs root, a kernel and its bpf filesystem, and nothing else.
    #[must_use]
    pub const fn new(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run, needs: Needs::Kernel }
    }

    /// As [`Case::new`], with too many runs for a virtual machine under emulation; what they show does
    /// not depend on the kernel's version.
    #[must_use]
    pub const fn long(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run, needs: Needs::Speed }
    }

    /// A case that needs iproute2 besides, and the programs that are built with this one.
    #[must_use]
    pub const fn network(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run, needs: Needs::Network }
    }

    /// As [`Case::network`], for a kernel with VLAN and tunnel devices: Debian's, in its virtual
    /// machine. Elsewhere it runs if it is named.
    #[must_use]
    pub const fn devices(name: &'static str, run: fn() -> Result<()>) -> Self {
        Self { name, run, needs: Needs::Devices }
    }

    /// Whether it is one of those that run where nothing else is said.
    fn fits(&self, vm: bool) -> bool {
        match self.needs {
            Needs::Kernel => true,
            Needs::Speed | Needs::Network => !vm,
            Needs::Devices => vm,
        }
    }

    /// Whether a name on the command line means it: its own, or its suite's.
    fn is_named(&self, name: &str) -> bool {
        let suite = self.name.split('/').next();
        self.name == name || suite == Some(name)
    }
}

/// Runs suites on the real kernel. The last line counts: `N passed, N failed`.
#[derive(Parser)]
struct Arguments {
    /// Suites, or single cases as SUITE/CASE; all of them if none is named.
    names: Vec<String>,
    /// Say what there is, and run nothing.
    #[arg(long)]
    list: bool,
    /// What is for Debian's kernel in a virtual machine: there is no room for the rest.
    #[arg(long)]
    vm: bool,
}

/// The program: picks by its arguments, runs, counts.
#[must_use]
pub fn main(cases: &[Case]) -> ExitCode {
    let arguments = Arguments::parse();
    let names = &arguments.names;
    let mut cases = cases.to_vec();
    let unknown: Vec<_> =
        names.iter().filter(|name| !cases.iter().any(|case| case.is_named(name))).collect();
    cases.retain(|case| {
        let named = names.is_empty() || names.iter().any(|name| case.is_named(name));
        let by_itself = names.iter().any(|name| case.name == *name);
        by_itself || named && case.fits(arguments.vm)
    });
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return ExitCode::SUCCESS;
    }
    for name in &unknown {
        println!("FAILED  there is no suite and no case {name}");
    }
    let failed = match ready() {
        Ok(()) => cases.iter().filter(|case| !passes(case)).count(),
        Err(error) => {
            println!("FAILED  nothing can be run: {error:#}");
            cases.len()
        }
    };
    let passed = cases.len() - failed;
    // Nothing at all having run is a failure, too.
    let failed = (failed + unknown.len()).max(usize::from(cases.is_empty()));
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// The switch that ends what a case waits for; pulled when the runner is told to end.
///
/// # Errors
/// If no signal handler can be installed.
pub fn stop() -> Result<&'static Stop> {
    static STOP: OnceLock<Result<Stop>> = OnceLock::new();
    let stop = STOP.get_or_init(Stop::on_signals).as_ref();
    stop.map_err(|error| anyhow!("{error:#}"))
}

/// Whether cases can be run at all. What cannot run fails; nothing is skipped.
fn ready() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "this needs root");
    owner::mount_bpffs()?;
    owner::clear_dead()?;
    stop().map(|_| ())
}

fn passes(case: &Case) -> bool {
    let (name, start) = (case.name, Moment::now());
    let result = match catch_unwind(AssertUnwindSafe(case.run)) {
        Ok(result) => result,
        Err(_) => Err(anyhow!("it panicked, see above")),
    };
    let time = start.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("ok      {name} ({time:.1} s)"),
        Err(error) => println!("FAILED  {name} ({time:.1} s): {error:#}"),
    }
    result.is_ok()
}
