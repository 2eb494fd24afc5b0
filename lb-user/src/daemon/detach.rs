//! What stays when a daemon ends, and how it goes.

use std::{fs, io, path::Path};

use thiserror::Error;

use super::saved::Plans;
use crate::dataplane;

/// Something stays.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum DetachError {
    #[error(transparent)]
    Dataplane(#[from] dataplane::OpenError),
    #[error("cannot remove the files of plans beside the control socket: {0}")]
    Files(#[from] io::Error),
}

/// Takes program, links and tables of a directory of pins off this host, and the files beside the
/// control socket that say what those name. False if nothing was attached.
///
/// # Errors
/// A daemon holds them, or something cannot be removed.
pub fn detach(bpffs: &Path, socket: &Path) -> Result<bool, DetachError> {
    // A daemon that starts as soon as the directory is free writes others.
    let files = Plans::beside(socket, bpffs).files()?;
    let detached = dataplane::detach(bpffs)?;
    files.iter().try_for_each(fs::remove_file)?;
    Ok(detached)
}
