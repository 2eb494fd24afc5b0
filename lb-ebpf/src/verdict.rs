//! What becomes of a packet, and why.

use lb_common::Reason;

/// What the kernel is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Action {
    /// To the host's own network stack.
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
    /// A table points where there is nothing.
    pub const BAD_TABLE: Self = Self::drop(Reason::DropBadTable);

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
    pub const fn tx(reason: Reason) -> Self {
        Self { reason, action: Action::Tx, ifindex: 0 }
    }

    /// Out of an interface, which may be the one that it came in by.
    #[inline(always)]
    pub const fn out_of(reason: Reason, ifindex: u32, ingress: u32) -> Self {
        if ifindex == ingress {
            Self::tx(reason)
        } else {
            Self { reason, action: Action::Redirect, ifindex }
        }
    }
}

const _: () = assert!(size_of::<Verdict>() == 8);
