//! What a veth leaves to hardware that it does not have, done before frames leave: a checksum that
//! is left out is never filled in once XDP has sent the frame on, and a VLAN tag that is carried
//! beside the frame is invisible to XDP.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// What comes in is put together to larger packets, where no XDP program takes it first.
pub const GRO: &str = "rx-gro";
/// What is left to hardware, as ethtool names it. Without checksums there is no segmentation either.
const FEATURES: [&str; 3] =
    ["tx-checksum-ip-generic", "tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"];

// Commands and a set of strings (linux/ethtool.h).
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETH_SS_FEATURES: u32 = 4;
/// Words of a string there: 32 bytes.
const STRING_WORDS: usize = 8;

/// Makes the kernel do all of that in software for an interface of the calling thread's namespace.
///
/// # Errors
/// If there is no such interface, or its driver refuses.
pub fn off(interface: &str) -> Result<()> {
    set(interface, &FEATURES, false)
}

/// Turns features on or off for an interface of the calling thread's namespace.
///
/// # Errors
/// If there is no such interface or feature, or its driver refuses.
pub fn set(interface: &str, features: &[&str], on: bool) -> Result<()> {
    let names = feature_names(interface)?;
    // `struct ethtool_sfeatures`: for every 32 features those that are meant, and their values.
    let blocks = names.len().div_ceil(32);
    let mut request = vec![0; 2 + 2 * blocks];
    request[..2].copy_from_slice(&[ETHTOOL_SFEATURES, blocks as u32]);
    for feature in features {
        let bit = names.iter().position(|name| name == feature);
        let bit = bit.with_context(|| format!("this kernel has no feature {feature}"))?;
        request[2 + 2 * (bit / 32)] |= 1 << (bit % 32);
        request[3 + 2 * (bit / 32)] |= u32::from(on) << (bit % 32);
    }
    ethtool(interface, &mut request).with_context(|| format!("offloads of {interface}"))
}

/// The names of all features, by their numbers.
fn feature_names(interface: &str) -> Result<Vec<String>> {
    // `struct ethtool_sset_info`: the sets asked for are a mask of 64 bits, in words of 32 here.
    let mut info = [ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0, 0];
    ethtool(interface, &mut info).with_context(|| format!("features of {interface}"))?;
    let count = info[4];
    let mut strings = vec![0; 3 + STRING_WORDS * count as usize];
    strings[..3].copy_from_slice(&[ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count]);
    ethtool(interface, &mut strings).with_context(|| format!("features of {interface}"))?;
    let name = |words: &[u32]| {
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
        String::from_utf8_lossy(&bytes.take_while(|byte| *byte != 0).collect::<Vec<_>>()).into()
    };
    Ok(strings[3..].chunks_exact(STRING_WORDS).map(name).collect())
}

/// One request. It is a structure that begins with a command, in words of 32 bits.
fn ethtool(interface: &str, request: &mut [u32]) -> Result<()> {
    let bytes = interface.as_bytes();
    ensure!(bytes.len() < libc::IFNAMSIZ, "the name {interface} is too long");
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let mut ifreq = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: request.as_mut_ptr().cast() },
    };
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    #[expect(unsafe_code, reason = "no safe wrapper of this ioctl")]
    // SAFETY: `ifreq` names an interface and points to `request`, which is as long as its command
    // and the lengths in it say; both outlive the call, and the kernel keeps no pointer.
    let done = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut ifreq) };
    Errno::result(done)?;
    Ok(())
}
