//! What becomes of a packet, and why.

use lb_common::Reason;

/// What the kernel is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// To the host's own network stack, untouched.
    Pass,
    /// Away with it.
    Drop,
    /// Out of the interface it came in by.
    Tx,
    /// Out of the interface with this index.
    Redirect(u32),
}

/// The end of a packet's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// Why; also the counter that counts it.
    pub reason: Reason,
}

impl Verdict {
    /// To the host.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self {
            action: Action::Pass,
            reason,
        }
    }

    /// Dropped.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self {
            action: Action::Drop,
            reason,
        }
    }
}
