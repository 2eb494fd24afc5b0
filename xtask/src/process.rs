//! How child processes are started: with which environment, as whom, and what is shown
//! of them while they run.

use crate::paths::{Paths, which};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
const REPORT_EVERY: Duration = Duration::from_secs(10);
const TAIL_LINES: usize = 30;

/// The cargo that started us, for userspace: same toolchain, same target directory.
pub(crate) fn cargo(paths: &Paths) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    // What `cargo run` says about xtask itself would mislead build scripts.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(&paths.root)
        .env_remove("UNDERSTUDY_OBJECT")
        .env("CARGO_TARGET_DIR", &paths.target);
    library_path(&mut command, paths);
    command
}

/// Removes from the environment what ties a command to the cargo that started us, so that
/// another toolchain can be used. Settings of the network and the registry stay.
pub(crate) fn foreign(mut command: Command, paths: &Paths) -> Command {
    for (name, _) in env::vars_os() {
        if is_toolchain_variable(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    // Empty, not absent: a wrapper in cargo's configuration is overridden too.
    command.env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    library_path(&mut command, paths);
    command
}

fn is_toolchain_variable(name: &str) -> bool {
    const KEEP: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
        "CARGO_BUILD_JOBS",
    ];
    const DROP: [&str; 6] = [
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_TOOLCHAIN_SOURCE",
        "RUSTC",
        "RUSTFLAGS",
        "RUSTC_BOOTSTRAP",
        "CARGO",
    ];
    DROP.contains(&name)
        || name.starts_with("CARGO_") && !KEEP.iter().any(|keep| name.starts_with(keep))
}

/// Cargo puts its own toolchain's libraries in front; another rustc must not see them.
fn library_path(command: &mut Command, paths: &Paths) {
    let Some(value) = env::var_os("LD_LIBRARY_PATH") else {
        return;
    };
    let toolchain = env::var_os("CARGO")
        .and_then(|cargo| Some(Path::new(&cargo).parent()?.parent()?.to_path_buf()));
    let rest: Vec<_> = env::split_paths(&value)
        .filter(|dir| !dir.starts_with(&paths.target))
        .filter(|dir| !toolchain.as_ref().is_some_and(|own| dir.starts_with(own)))
        .collect();
    match env::join_paths(&rest) {
        Ok(joined) if !rest.is_empty() => command.env("LD_LIBRARY_PATH", joined),
        _ => command.env_remove("LD_LIBRARY_PATH"),
    };
}

/// Are we root?
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A command that runs as root: itself if we are root, through sudo otherwise.
pub(crate) fn as_root(program: &Path) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = which("sudo") else {
        bail!("{} needs root, and there is no sudo here", program.display());
    };
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}

/// Runs with our own standard streams; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", name(command)))?;
    check(command, status)
}

/// Runs quietly and returns the standard output; None if it did not succeed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts with standard output piped and hands on every line, before it is printed too.
pub(crate) fn each_line(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", name(command)))?;
    if let Some(pipe) = child.stdout.take() {
        echo(pipe, &mut line)?;
    }
    Ok(child.wait()?)
}

/// Prints what comes and hands on every line of it, until the other end closes.
pub(crate) fn echo(pipe: impl Read, mut line: impl FnMut(&str)) -> Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut buffer = Vec::new();
    while reader.read_until(b'\n', &mut buffer)? > 0 {
        let text = String::from_utf8_lossy(&buffer);
        let text = text.trim_end_matches(['\r', '\n']);
        println!("{text}");
        line(text);
        buffer.clear();
    }
    Ok(())
}

/// Runs something long: its output goes to a log, the time is shown while it runs, and
/// the log's end is shown if it fails.
pub(crate) fn step(paths: &Paths, what: &str, log: &str, command: &mut Command) -> Result<()> {
    let log = paths.log(log);
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    writeln!(file, "{command:?}")?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("starting {}", name(command)))?;
    let status = wait_visibly(&mut child, what, start)?;
    if !status.success() {
        let text = fs::read_to_string(&log).unwrap_or_default();
        bail!(
            "{what} failed ({status})\n{}\nthe whole log: {}",
            tail(&text, TAIL_LINES),
            log.display()
        );
    }
    eprintln!("{what}: done in {} s", start.elapsed().as_secs());
    Ok(())
}

fn wait_visibly(child: &mut Child, what: &str, start: Instant) -> Result<ExitStatus> {
    let bar = std::io::stderr().is_terminal().then(|| spinner(what));
    if bar.is_none() {
        eprintln!("{what} …");
    }
    let mut next = REPORT_EVERY;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if bar.is_none() && start.elapsed() >= next {
            eprintln!("{what} … {} s", start.elapsed().as_secs());
            next += REPORT_EVERY;
        }
        thread::sleep(POLL);
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(status)
}

fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(POLL);
    bar
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", name(command));
    }
    Ok(())
}

/// The program and its first words: enough to know which command it was.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut words: Vec<OsString> = vec![program.file_name().unwrap_or_default().to_owned()];
    words.extend(command.get_args().take(4).map(OsString::from));
    let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{is_toolchain_variable, tail};

    #[test]
    fn the_outer_toolchain_is_forgotten_and_the_registry_is_not() {
        for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO", "CARGO_ENCODED_RUSTFLAGS"] {
            assert!(is_toolchain_variable(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_REGISTRIES_X_INDEX", "CARGO_HTTP_PROXY", "PATH"] {
            assert!(!is_toolchain_variable(name), "{name}");
        }
    }

    #[test]
    fn the_tail_is_the_last_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\n", 2), "a");
    }
}
