//! The suites that need a kernel and root; see `harness::runner` for what it prints.

use std::process::ExitCode;

use harness::{pipeline, runner, suites};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        // A case starts this program again, to be killed in the middle of a commit.
        [flag, directory, at] if flag == pipeline::KILLED_WRITER => {
            match pipeline::killed_writer(directory, at) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => runner::main(&suites::all()),
    }
}
