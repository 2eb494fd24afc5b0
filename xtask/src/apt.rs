//! How Debian packages are downloaded without being installed: through the machine's own sources,
//! as whoever we are.

use crate::paths::Paths;
use crate::process::step;
use anyhow::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Tries with the machine's own package lists; where they do not do, with new ones below `dir`,
/// which needs no root. The attempt gets the options for apt's programs; `Ok(None)` means that
/// the lists do not know enough.
pub(crate) fn with_lists<T>(
    paths: &Paths,
    dir: &Path,
    attempt: impl Fn(&[String]) -> Result<Option<T>>,
) -> Result<Option<T>> {
    if let Some(found) = attempt(&[])? {
        return Ok(Some(found));
    }
    let own = options(dir)?;
    let mut update = Command::new("apt-get");
    update.args(&own).arg("update");
    step(paths, "reading package lists", "apt-lists", &mut update)?;
    attempt(&own)
}

fn options(dir: &Path) -> Result<Vec<String>> {
    let (lists, cache) = (dir.join("apt/lists"), dir.join("apt/cache"));
    fs::create_dir_all(lists.join("partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    Ok(vec![
        format!("-oDir::State::lists={}", lists.display()),
        format!("-oDir::Cache={}", cache.display()),
        "-oDebug::NoLocking=1".into(),
    ])
}
