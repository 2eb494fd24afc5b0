//! What the compiler must not know, so that the verifier sees what it has to; and the instruction that
//! it would not make by itself.

use aya_ebpf::bindings::xdp_md;

/// The same number, of which the compiler knows nothing.
#[inline(always)]
pub(crate) fn unknown(number: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: a register is put into itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) number,
                options(pure, nomem, nostack, preserves_flags));
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// The same number, of which neither the compiler nor the verifier knows anything, if it knows nothing
/// of the salt.
#[inline(always)]
pub(crate) fn forget(number: u64, salt: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: a register is changed and changed back.
        unsafe {
            core::arch::asm!("{0} ^= {1}", "{0} ^= {1}", inout(reg) number, in(reg) salt,
                options(pure, nomem, nostack, preserves_flags));
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = salt;
        number
    }
}

/// The same offset, of which the compiler knows nothing but if it is a constant. Else it would check
/// one copy of it and use another.
#[inline(always)]
pub(crate) fn unknown_unless_constant(offset: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    if !core::intrinsics::is_val_statically_known(offset) {
        return unknown(offset as u64) as usize;
    }
    offset
}

/// Puts `to` in the place of `from`, if that stands there: whether it did. A full barrier either way.
///
/// # Safety
/// The pointer is to an aligned word of a map.
#[inline(always)]
pub(crate) unsafe fn compare_and_swap(word: *mut u64, from: u64, to: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};
        // The compiler offers `AtomicU64` of this target no compare-and-swap, which it has since
        // version 3.
        // SAFETY: as this function's.
        unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(word, from, to).1 }
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
        // SAFETY: as this function's.
        unsafe { AtomicU64::from_ptr(word) }.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }
}

/// Where the packet begins, or ends (`data_end`). The compiler would load 32 bits and widen them
/// somewhere else, where the verifier does not know a pointer any more; so this is one instruction,
/// whose result is good until memory may have changed.
macro_rules! pointer {
    ($name:ident, $field:ident, $load:literal) => {
        #[cfg(target_arch = "bpf")]
        #[inline(always)]
        pub(crate) unsafe fn $name(ctx: *mut xdp_md) -> usize {
            const _: () = assert!(core::mem::offset_of!(xdp_md, data) == 0);
            const _: () = assert!(core::mem::offset_of!(xdp_md, data_end) == 4);
            let pointer: usize;
            // SAFETY: reads a field of the context, at the offset that was asserted.
            unsafe {
                core::arch::asm!($load, out(reg) pointer, in(reg) ctx,
                    options(pure, readonly, nostack, preserves_flags));
            }
            pointer
        }

        #[cfg(not(target_arch = "bpf"))]
        pub(crate) unsafe fn $name(ctx: *mut xdp_md) -> usize {
            // SAFETY: never run; the program runs in the kernel only.
            unsafe { (*ctx).$field as usize }
        }
    };
}

pointer!(start, data, "{0} = *(u32 *)({1} + 0)");
pointer!(end, data_end, "{0} = *(u32 *)({1} + 4)");
