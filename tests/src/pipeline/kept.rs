//! Kept frames: what once differed between the runners, or broke what must hold, as files that a
//! person can read. One frame a line in hex, those of a file one after the other; `#` begins a comment.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use lb_common::HashAlgorithm;

use super::{check, fuzz, runners};

/// Names and contents of all files in `cases/`.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/kept.rs"));

/// All kept frames, on every host: both runners agree, and what must hold does.
///
/// # Errors
/// It does not, or a file cannot be read.
pub fn run() -> Result<()> {
    ensure!(!FILES.is_empty(), "no files were kept");
    runners::alone(|| {
        let (mut pairs, mut failures) = (check::pairs(HashAlgorithm::Multilinear)?, Vec::new());
        for (name, text) in FILES {
            let frames = parse(text).with_context(|| format!("reading {name}"))?;
            for pair in &mut pairs {
                if let Some(failure) = fuzz::differs(pair, &frames, None)? {
                    failures.push(format!("{name}: {failure}"));
                }
            }
        }
        check::report(&failures)
    })
}

/// The frames of a file.
fn parse(text: &str) -> Result<Vec<Vec<u8>>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let frames: Vec<_> = lines.filter(|line| !line.is_empty()).map(bytes).collect::<Result<_>>()?;
    ensure!(!frames.is_empty(), "there is no frame in it");
    Ok(frames)
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    ensure!(hex.is_ascii() && hex.len().is_multiple_of(2), "not pairs of hex digits: {hex}");
    let pairs = (0..hex.len()).step_by(2).map(|at| &hex[at..at + 2]);
    let frame: Vec<u8> =
        pairs.map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<_, _>>()?;
    if frame.len() < 14 {
        bail!("a frame of {} bytes", frame.len());
    }
    Ok(frame)
}

/// Writes frames to a new file in a directory. `about` says what differed.
///
/// # Errors
/// It cannot be written.
pub fn write(directory: &Path, name: &str, about: &str, frames: &[Vec<u8>]) -> Result<()> {
    let mut text = String::new();
    for line in about.lines() {
        let _ = writeln!(text, "# {}", line.trim_end());
    }
    for frame in frames {
        for byte in frame {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let frames = vec![(0..20).collect::<Vec<u8>>(), vec![0xfe; 14]];
        write(directory.path(), "x.txt", "what\nand why", &frames).expect("a file");
        let text = fs::read_to_string(directory.path().join("x.txt")).expect("the file");
        assert!(text.starts_with("# what\n# and why\n0001"), "{text}");
        assert_eq!(parse(&text).expect("frames"), frames);
        assert!(parse("# nothing\n").is_err() && parse("0011\n").is_err() && parse("0g").is_err());
    }
}
