//! What becomes of a packet, and why.

use core::fmt;

use lb_common::Reason;

/// What the kernel is told to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Action {
    /// To the host's own network stack.
    Pass = 0,
    /// Away with it.
    Drop = 1,
    /// Out of the interface it came in by.
    Tx = 2,
    /// Out of another interface.
    Redirect = 3,
}

/// The end of a packet's way: why, what is done, and the interface, in one word: from where it is
/// decided it stays in one register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Verdict(u64);

impl Verdict {
    /// A table points where there is nothing.
    pub const BAD_TABLE: Self = Self::drop(Reason::DropBadTable);

    #[inline(always)]
    const fn new(reason: Reason, action: Action, ifindex: u32) -> Self {
        Self(reason as u64 | (action as u64) << 16 | (ifindex as u64) << 32)
    }

    /// To the host.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self::new(reason, Action::Pass, 0)
    }

    /// Dropped.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::new(reason, Action::Drop, 0)
    }

    /// Out of the interface it came in by.
    #[inline(always)]
    pub const fn tx(reason: Reason) -> Self {
        Self::new(reason, Action::Tx, 0)
    }

    /// Out of an interface, which may be the one that it came in by.
    #[inline(always)]
    pub const fn out_of(reason: Reason, ifindex: u32, ingress: u32) -> Self {
        if ifindex == ingress {
            Self::tx(reason)
        } else {
            Self::new(reason, Action::Redirect, ifindex)
        }
    }

    /// The number of the reason: the place of its counter, below [`Reason::COUNT`].
    #[inline(always)]
    pub const fn number(self) -> u16 {
        self.0 as u16
    }

    /// Whether this is why.
    #[inline(always)]
    pub const fn is_for(self, reason: Reason) -> bool {
        self.number() == reason as u16
    }

    /// Why.
    pub const fn reason(self) -> Reason {
        Reason::ALL[self.number() as usize]
    }

    /// What is done.
    #[inline(always)]
    pub const fn action(self) -> Action {
        const PASS: u16 = Action::Pass as u16;
        const DROP: u16 = Action::Drop as u16;
        const TX: u16 = Action::Tx as u16;
        match (self.0 >> 16) as u16 {
            PASS => Action::Pass,
            DROP => Action::Drop,
            TX => Action::Tx,
            _ => Action::Redirect,
        }
    }

    /// Index of the interface to send out of; 0 unless redirected.
    #[inline(always)]
    pub const fn ifindex(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?} for {:?}", self.action(), self.reason())?;
        if self.ifindex() == 0 { Ok(()) } else { write!(to, " to interface {}", self.ifindex()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_it_was_made_of() {
        for &reason in Reason::ALL {
            let said = |verdict: Verdict| {
                assert_eq!(usize::from(verdict.number()), reason as usize);
                assert!(verdict.is_for(reason) && verdict.reason() == reason);
                (verdict.action(), verdict.ifindex())
            };
            assert_eq!(said(Verdict::pass(reason)), (Action::Pass, 0));
            assert_eq!(said(Verdict::drop(reason)), (Action::Drop, 0));
            assert_eq!(said(Verdict::out_of(reason, 7, 7)), (Action::Tx, 0));
            assert_eq!(said(Verdict::out_of(reason, u32::MAX, 7)), (Action::Redirect, u32::MAX));
        }
        let other = Verdict::drop(Reason::DropMartian);
        assert!(!other.is_for(Reason::DropNoNode) && other != Verdict::pass(Reason::DropMartian));
        let text = format!("{:?}", Verdict::out_of(Reason::ForwardTx, 3, 2));
        assert_eq!(text, "Redirect for ForwardTx to interface 3");
    }
}
