//! Puts the program on interfaces: native XDP by `bpf_link`, else generic, with a plain word why.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, LinkError, PinnedLink},
    xdp::XdpLink,
};
use nix::errno::Errno;
use thiserror::Error;

use super::pins::{PinDir, PinError};

/// An interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
}

/// How the program came to be on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// By a new link, in the driver.
    Native,
    /// By a new link, in the generic layer: the driver cannot.
    Generic,
    /// By the pinned link of an earlier daemon, whose program was replaced in place.
    Adopted,
}

/// Why the program could not be put on an interface.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum AttachError {
    #[error("no interface named {0}; `ip link` lists those of this host")]
    NoInterface(String),
    #[error(
        "an XDP program is already attached to {0}; `bpftool net show dev {0}` tells which. \
         Detach it first (`ip link set dev {0} xdp off`, or the program's own way)"
    )]
    Busy(String),
    #[error("cannot attach to {interface}: {source}")]
    Program { interface: String, source: ProgramError },
    #[error("cannot attach to {0} by bpf_link; a kernel of 6.1 or later is needed")]
    NoLink(String),
    #[error("cannot adopt the pinned link of {interface}: {source}")]
    Link { interface: String, source: LinkError },
    #[error("cannot pin the link of {interface}: {source}")]
    Pin { interface: String, source: aya::pin::PinError },
    #[error(transparent)]
    Pins(#[from] PinError),
}

/// Finds an interface.
///
/// # Errors
/// [`AttachError::NoInterface`].
pub fn target(name: &str) -> Result<Target, AttachError> {
    nix::net::if_::if_nametoindex(name)
        .map(|ifindex| Target { name: name.to_owned(), ifindex })
        .map_err(|_| AttachError::NoInterface(name.to_owned()))
}

/// Puts the program on all targets: those with a pinned link by replacing its program, the others
/// by a new link, pinned once all are attached. If one fails, the new ones are taken off again.
/// Links pinned for other interfaces are removed.
///
/// # Errors
/// See [`AttachError`]; replaced programs stay replaced.
pub fn attach(
    program: &mut Xdp,
    pins: &PinDir,
    targets: &[Target],
) -> Result<Vec<Attached>, AttachError> {
    let mut new = Vec::new();
    let mut how = Vec::new();
    for target in targets {
        let pin = pins.link(target.ifindex);
        if pin.exists() && adopt(program, &pin, target)? {
            how.push(Attached::Adopted);
            continue;
        }
        let (link, attached) = attach_new(program, target)?;
        new.push((link, pin, target));
        how.push(attached);
    }
    for (link, pin, target) in new {
        link.pin(pin)
            .map_err(|source| AttachError::Pin { interface: target.name.clone(), source })?;
    }
    for (ifindex, pin) in pins.links()? {
        if !targets.iter().any(|t| t.ifindex == ifindex) {
            remove(&pin)?;
        }
    }
    Ok(how)
}

/// Replaces the program of a pinned link. False, and the pin is gone, if its interface is gone.
fn adopt(program: &mut Xdp, pin: &Path, target: &Target) -> Result<bool, AttachError> {
    let failed = |source| AttachError::Link { interface: target.name.clone(), source };
    let link = FdLink::from(PinnedLink::from_pin(pin).map_err(failed)?);
    match program.attach_to_link(XdpLink::try_from(link).map_err(failed)?) {
        Ok(id) => {
            // Owned by its pin, not by this process.
            program.take_link(id).map_err(|source| AttachError::Program {
                interface: target.name.clone(),
                source,
            })?;
            Ok(true)
        }
        Err(error) if errno(&error) == Some(Errno::ENOLINK) => {
            remove(pin)?;
            Ok(false)
        }
        Err(source) => Err(AttachError::Program { interface: target.name.clone(), source }),
    }
}

fn attach_new(program: &mut Xdp, target: &Target) -> Result<(FdLink, Attached), AttachError> {
    let failed = |source| AttachError::Program { interface: target.name.clone(), source };
    let (id, how) = match program.attach_to_if_index(target.ifindex, XdpMode::Driver) {
        Ok(id) => (id, Attached::Native),
        Err(error) => match errno(&error) {
            Some(Errno::EBUSY | Errno::EEXIST) => {
                return Err(AttachError::Busy(target.name.clone()));
            }
            Some(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ERANGE) => {
                let id =
                    program.attach_to_if_index(target.ifindex, XdpMode::Skb).map_err(failed)?;
                (id, Attached::Generic)
            }
            _ => return Err(failed(error)),
        },
    };
    let link = program.take_link(id).map_err(failed)?;
    // aya falls back from bpf_link to netlink by itself. Such a program cannot be pinned.
    match FdLink::try_from(link) {
        Ok(link) => Ok((link, how)),
        Err(_) => {
            // The failed conversion has lost the handle that could take the program off:
            // attaching the same program once more gives another.
            let mode = if how == Attached::Native { XdpMode::Driver } else { XdpMode::Skb };
            let id = program.attach_to_if_index(target.ifindex, mode).map_err(failed)?;
            program.detach(id).map_err(failed)?;
            Err(AttachError::NoLink(target.name.clone()))
        }
    }
}

fn remove(pin: &Path) -> Result<(), PinError> {
    std::fs::remove_file(pin).map_err(|source| PinError::Io {
        operation: "remove",
        path: pin.to_owned(),
        source,
    })
}

/// The system's error number behind an error of aya.
fn errno(error: &ProgramError) -> Option<Errno> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error().map(Errno::from_raw);
        }
        source = error.source();
    }
    None
}
