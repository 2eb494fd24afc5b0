//! The agent's checks of its servers: one after the other, never two of one server at once.

use std::{process::Stdio, sync::Arc, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::Command,
    sync::mpsc::UnboundedSender,
    time::{self, Instant, MissedTickBehavior},
};
use tracing::debug;

use super::state::Verdict;
use crate::{
    config::agent::{Check, LocalServer},
    decide::{MissReason, Outcome},
    probe::Prober,
};

/// A server's index, when its check began, and what it found.
pub(super) type Checked = (usize, Instant, Verdict);

/// Checks a server each interval for as long as anybody wants to know; `server` is its index.
pub(super) async fn watch(
    server: usize,
    what: LocalServer,
    prober: Arc<Prober>,
    verdicts: UnboundedSender<Checked>,
) {
    let mut ticks = time::interval(what.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let begin = Instant::now();
        let verdict = match &what.check {
            Check::Probe(target) => match prober.check(target).await {
                Outcome::Hit => Some(Ok(())),
                Outcome::NotWorking => Some(Err("it says that it is not working".to_owned())),
                // No outcome: what is known grows old.
                Outcome::Miss(MissReason::Local) => None,
                Outcome::Miss(reason) => Some(Err(format!("its check failed: {reason:?}"))),
            },
            Check::Command(words) => command(words, what.timeout).await,
        };
        let Some(verdict) = verdict else {
            debug!("server {}: the check could not be made", what.server.number);
            continue;
        };
        if verdicts.send((server, begin, verdict)).is_err() {
            return;
        }
    }
}

/// Runs a command: exit status 0 is success. At the timeout it is killed with all its children.
/// `None`: this host could not start it for want of memory, processes or descriptors.
async fn command(words: &[String], timeout: Duration) -> Option<Verdict> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            use std::io::ErrorKind::{NotFound, PermissionDenied};
            let is_its_own = matches!(error.kind(), NotFound | PermissionDenied);
            return is_its_own.then(|| Err(format!("{program} cannot be run: {error}")));
        }
    };
    // Its group has its number; it is not used again before the child has been waited for.
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw));
    Some(match time::timeout(timeout, child.wait()).await {
        Ok(status) => {
            group.has_ended();
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("{program}: {status}")),
                Err(error) => Err(format!("{program}: {error}")),
            }
        }
        Err(_) => {
            drop(group);
            // Killed, so this is short; a process that the kernel holds must not hold us.
            let _ = time::timeout(timeout, child.wait()).await;
            Err(format!("{program} did not end within {} ms", timeout.as_millis()))
        }
    })
}

/// A process group that dies with this value, also when the agent ends in the middle of a check.
struct Group(Option<Pid>);

impl Group {
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn the_exit_status_of_a_command_says_it() {
        assert_eq!(command(&words(&["true"]), LONG).await, Some(Ok(())));
        let failed = command(&words(&["sh", "-c", "exit 3"]), LONG).await;
        assert_eq!(failed, Some(Err("sh: exit status: 3".to_owned())));
        let missing = command(&words(&["/nowhere/understudy-check"]), LONG).await;
        assert!(missing.is_some_and(|verdict| verdict.is_err()));
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_killed_with_its_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pids");
        // A child that outlives its parent's end, and ignores what can be ignored.
        let script = "trap '' TERM HUP INT; sleep 1000 & echo $$ $! >\"$0\"; wait; sleep 1000";
        let pids = || std::fs::read_to_string(&file).unwrap_or_default();
        let words = words(&["sh", "-c", script, file.to_str().expect("a path")]);
        let mut timeout = Duration::from_millis(200);
        while pids().is_empty() {
            // On a busy machine the shell takes its time.
            let verdict = command(&words, timeout).await.expect("a verdict");
            assert!(verdict.is_err_and(|reason| reason.contains("did not end")));
            timeout *= 2;
        }
        for pid in pids().split_whitespace() {
            let pid = Pid::from_raw(pid.parse().expect("a number"));
            let gone = async {
                while nix::sys::signal::kill(pid, None).is_ok() && !is_zombie(pid) {
                    tokio::task::yield_now().await;
                }
            };
            time::timeout(LONG, gone).await.expect("the process ends");
        }
    }

    #[tokio::test]
    async fn a_verdict_is_as_old_as_the_beginning_of_its_check() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name| directory.path().join(name).to_str().expect("a path").to_owned();
        let (begun, go) = (file("begun"), file("go"));
        let script = "touch \"$0\"; until [ -e \"$1\" ]; do :; done";
        let what = LocalServer {
            server: crate::config::Server { number: 7, port: 443 },
            check: Check::Command(words(&["sh", "-c", script, &begun, &go])),
            interval: LONG,
            timeout: LONG,
        };
        let (sender, mut verdicts) = tokio::sync::mpsc::unbounded_channel();
        let prober = Arc::new(Prober::new(&[]).expect("a prober"));
        let watch = tokio::spawn(watch(3, what, prober, sender));
        let begins = async {
            while !std::path::Path::new(&begun).exists() {
                tokio::task::yield_now().await;
            }
        };
        time::timeout(LONG, begins).await.expect("the check begins");
        let during = Instant::now();
        std::fs::write(&go, "").expect("a file");
        let verdict = time::timeout(LONG, verdicts.recv()).await.expect("the check ends");
        let (server, begin, verdict) = verdict.expect("a verdict");
        assert_eq!((server, verdict), (3, Ok(())));
        assert!(begin < during);
        watch.abort();
    }

    /// Nobody may be there to wait for it.
    fn is_zombie(pid: Pid) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }
}
