//! What each binary for the kernel has beside its programs.

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Where the kernel looks for the licence: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// On the host the binaries only exist to be checked; they are built for the kernel.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn main() {}
