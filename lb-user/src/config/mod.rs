//! The configuration: text of the file → well-formed values with their places ([`raw`]) → checked
//! values ([`validate`]), with all errors at once.

pub mod agent;
mod destination;
mod error;
mod health;
mod ratio;
mod raw;
mod reader;
mod report;
mod saved;
pub mod types;
mod validate;
mod values;

use std::path::Path;

use toml::de::DeTable;

pub use error::{ConfigErrors, Diagnostic, Severity, render};
pub use ratio::RatioError;
pub use types::*;

use report::Report;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it, or why it cannot be read.
pub fn load(path: impl AsRef<Path>) -> Result<Checked, ConfigErrors> {
    let path = path.as_ref();
    parse_in(&text(path)?, &path.display().to_string(), path.parent())
}

/// The text of a file.
fn text(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| ConfigErrors::unreadable(&name, &error))?;
    let text = String::from_utf8(bytes);
    text.map_err(|error| ConfigErrors::not_utf8(&name, error.as_bytes(), &error.utf8_error()))
}

/// Checks the text of a configuration file; `file_name` is what messages call it, and files that
/// it names are looked for beside it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(text: &str, file_name: &str) -> Result<Checked, ConfigErrors> {
    parse_in(text, file_name, Path::new(file_name).parent())
}

fn parse_in(
    text: &str,
    file_name: &str,
    directory: Option<&Path>,
) -> Result<Checked, ConfigErrors> {
    let mut report = Report::default();
    let (document, syntax) = DeTable::parse_recoverable(text);
    report.syntax(syntax);
    let raw = raw::read(document.get_ref(), directory.unwrap_or(Path::new("")), &mut report);
    // What a broken text seems to say of itself may be wrong: only its single values are judged.
    let config = if report.is_damaged() { None } else { validate::check(&raw, &mut report) };
    let (errors, warnings) = report.finish(text, file_name);
    match config {
        Some(config) if errors.is_empty() => Ok(Checked { config, warnings }),
        _ => Err(ConfigErrors::new(errors)),
    }
}

/// A configuration that may be used.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The checked values.
    pub config: Config,
    /// What is legal and unwise, by place.
    pub warnings: Vec<Diagnostic>,
}
