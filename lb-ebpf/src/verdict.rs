//! What becomes of a packet, and why.

use lb_common::Reason;

/// What the kernel is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Action {
    /// To the host's own network stack, untouched.
    Pass,
    /// Away with it.
    Drop,
    /// Out of the interface it came in by.
    Tx,
    /// Out of another interface.
    Redirect,
}

/// The end of a packet's way.
///
/// Eight bytes, aligned as one word: on its way through the stages' results it is then one
/// register, and where it is spilled to the stack the verifier finds an aligned store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
pub struct Verdict {
    /// Why; also the counter that counts it.
    pub reason: Reason,
    /// What is done.
    pub action: Action,
    /// Index of the interface to send out of; 0 unless redirected.
    pub ifindex: u32,
}

impl Verdict {
    /// To the host.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self { reason, action: Action::Pass, ifindex: 0 }
    }

    /// Dropped.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self { reason, action: Action::Drop, ifindex: 0 }
    }

    /// Out of the interface it came in by.
    #[inline(always)]
    pub const fn tx() -> Self {
        Self { reason: Reason::ForwardTx, action: Action::Tx, ifindex: 0 }
    }

    /// Out of another interface.
    #[inline(always)]
    pub const fn redirect(ifindex: u32) -> Self {
        Self { reason: Reason::ForwardRedirect, action: Action::Redirect, ifindex }
    }
}

const _: () = assert!(size_of::<Verdict>() == 8);
