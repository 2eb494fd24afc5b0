//! Transmit checksum offload off: a veth that leaves checksums to hardware hands `XDP_TX`
//! frames whose checksum nobody will ever fill in.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// Set transmit checksumming (linux/ethtool.h).
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Makes the kernel fill in checksums before frames leave by this interface of the calling
/// thread's namespace.
///
/// # Errors
/// If there is no such interface, or its driver refuses.
pub fn checksum_in_software(interface: &str) -> Result<()> {
    let bytes = interface.as_bytes();
    ensure!(bytes.len() < libc::IFNAMSIZ, "the name {interface} is too long");
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() },
    };
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    #[expect(unsafe_code, reason = "no safe wrapper of this ioctl")]
    // SAFETY: `request` names an interface and points to `value`, whose size the command
    // ETHTOOL_STXCSUM implies; both outlive the call, and the kernel keeps no pointer.
    let done = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    Errno::result(done).with_context(|| format!("checksum offload of {interface}"))?;
    Ok(())
}
