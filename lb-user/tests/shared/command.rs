//! The program under test, as users start it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// Runs the command with this on its standard input.
pub(crate) fn understudy(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_understudy"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("understudy starts");
    let mut stdin = child.stdin.take().expect("its standard input");
    // A command that does not read it may have ended by now.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("understudy ends")
}
