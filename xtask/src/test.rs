//! `cargo xtask test`: what is tested, and when that counts as passed. A part that does
//! not report counts as failed.

use crate::paths::Paths;
use crate::toolchain::Want;
use crate::{build, process, setup, vm};
use anyhow::Result;
use std::ops::AddAssign;
use std::process::{ExitCode, ExitStatus};

/// Which tests.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Run these kernel suites only, and nothing else.
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
    /// Fuzz the packet's way for so long (as 10m), and nothing else.
    #[arg(long, value_name = "TIME", conflicts_with = "suites")]
    fuzz: Option<String>,
    /// Leave out the tests on kernel 6.1, which boot a virtual machine.
    #[arg(long)]
    no_vm: bool,
}

/// Results, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Count {
    /// The count of a run that ended like this: failure is never lost.
    fn of_run(summary: Option<Self>, success: bool) -> Self {
        let mut count = summary.unwrap_or_default();
        if summary.is_none() || (!success && count.failed == 0) {
            count.failed += 1;
        }
        count
    }
}

/// Runs the parts one after the other, each to its end, and prints one closing line.
pub(crate) fn test(paths: &Paths, args: &Args, install: bool) -> Result<ExitCode> {
    let narrowed = !args.suites.is_empty() || args.fuzz.is_some();
    let vm = !args.no_vm && !narrowed;
    let ready = setup::setup(paths, Want::Test { vm }, install)?;
    let scope = build::Scope::Everything;
    build::build(paths, &ready, &build::Args::default(), scope)?;

    let mut total = Count::default();
    if !narrowed {
        total += part("unit, property and doc tests", || cargo_test(paths));
    }
    total += match &args.fuzz {
        Some(time) => part("fuzzing", || program(paths, "fuzz", &["--for".into(), time.clone()])),
        None => part("kernel suites", || program(paths, "suites", &args.suites)),
    };
    if vm {
        total += part("kernel 6.1", || {
            let (last, success) = vm::run(paths)?;
            Ok((last.as_deref().and_then(summary), success))
        });
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    Ok(ExitCode::from(u8::from(total.failed > 0)))
}

/// One part: an error that keeps it from running is shown and counts as a failure.
fn part(title: &str, run: impl FnOnce() -> Result<(Option<Count>, bool)>) -> Count {
    println!("\n== {title}");
    let (summary, success) = run().unwrap_or_else(|error| {
        println!("error: {error:#}");
        (None, false)
    });
    Count::of_run(summary, success)
}

fn cargo_test(paths: &Paths) -> Result<(Option<Count>, bool)> {
    let mut cargo = process::cargo(paths);
    cargo
        .args(["test", "--release", "--workspace", "--no-fail-fast"])
        .env("UNDERSTUDY_OBJECT", paths.object());
    let mut sum = None;
    let status = process::each_line(&mut cargo, |line| {
        if let Some(count) = libtest(line) {
            *sum.get_or_insert_default() += count;
        }
    })?;
    Ok((sum, status.success()))
}

/// One of our own runners.
fn program(paths: &Paths, name: &str, arguments: &[String]) -> Result<(Option<Count>, bool)> {
    let mut command = process::as_root(&paths.program(name))?;
    command.args(arguments);
    let mut last = None;
    let status: ExitStatus = process::each_line(&mut command, |line| {
        last = summary(line).or(last);
    })?;
    Ok((last, status.success()))
}

/// Our own runners' closing line: `12 passed, 0 failed`.
pub(crate) fn summary(line: &str) -> Option<Count> {
    let (passed, failed) = line.trim().split_once(" passed, ")?;
    Some(Count {
        passed: passed.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

/// libtest's: `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
fn libtest(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(word));
        part?.trim().parse().ok()
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::{Count, libtest, summary};

    const fn count(passed: u64, failed: u64) -> Count {
        Count { passed, failed }
    }

    #[test]
    fn closing_lines_are_read() {
        assert_eq!(summary("12 passed, 3 failed"), Some(count(12, 3)));
        assert_eq!(summary("12 passed, 3 failed, 1 odd"), None);
        assert_eq!(summary("suite a: 12 passed, 3 failed"), None);
    }

    #[test]
    fn libtest_lines_are_read() {
        let line = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; \
                    0 filtered out; finished in 0.00s";
        assert_eq!(libtest(line), Some(count(7, 2)));
        assert_eq!(libtest("test a::b ... ok"), None);
    }

    #[test]
    fn no_summary_and_a_bad_exit_are_failures() {
        assert_eq!(Count::of_run(None, true), count(0, 1));
        assert_eq!(Count::of_run(Some(count(4, 0)), false), count(4, 1));
        assert_eq!(Count::of_run(Some(count(4, 2)), false), count(4, 2));
        assert_eq!(Count::of_run(Some(count(4, 0)), true), count(4, 0));
    }
}
