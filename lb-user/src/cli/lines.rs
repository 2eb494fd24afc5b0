//! Files of one request a line, or standard input in their place.

use std::{fs, io, path::Path};

use anyhow::Context;

/// The text of a file; `-` is standard input.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let text = match file.as_os_str() == "-" {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(file),
    };
    text.with_context(|| name(file))
}

/// How messages call it.
pub(super) fn name(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

/// What its lines say, with their numbers; `#` begins a comment, and lines without more are left out.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(text.lines().map(said)).filter(|(_, line)| !line.is_empty())
}

fn said(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}
