//! Why a packet ended as it did: one reason a verdict, one counter a reason.

/// Defines the reasons and, from the same list, the struct of counters that bpftool shows by
/// field name.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident, $field:ident;)+) => {
        /// Why a packet got its verdict. The number is the index of its counter.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name in `COUNTERS`, in JSON and in documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($field),)+ }
            }
        }

        /// Packets by reason, of one CPU. Map `COUNTERS`, one element.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)+
        }

        impl Counters {
            /// Every reason with its count.
            pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
                [$((Reason::$variant, self.$field),)+].into_iter()
            }

            /// Count one packet.
            #[inline(always)]
            pub fn count(&mut self, reason: Reason) {
                match reason { $(Reason::$variant => self.$field = self.$field.wrapping_add(1),)+ }
            }

            /// Add another CPU's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }
        }

        const _: () = assert!(size_of::<Counters>() == 8 * Reason::COUNT);
    };
}

reasons! {
    /// Sent to the node out of the interface it came in by.
    ForwardTx, forward_tx;
    /// Sent to the node out of another interface.
    ForwardRedirect, forward_redirect;
    /// Passed: not IPv4 (ARP, IPv6, ...).
    PassNotIpv4, pass_not_ipv4;
    /// Passed: the frame ends before the header that it announces, or the IPv4 header is not one,
    /// or a TCP header is cut off.
    PassMalformed, pass_malformed;
    /// Passed: not to the address of a service.
    PassNotVip, pass_not_vip;
    /// Passed: to the address of a service (as far as the bitmap tells), but no service has that
    /// protocol and port.
    PassNoService, pass_no_service;
    /// Passed: a fragment to the address of a service (as far as the bitmap tells).
    PassFragment, pass_fragment;
    /// Dropped: no cluster may serve the flow's slot.
    DropNoCluster, drop_no_cluster;
    /// Dropped: no node of the cluster may serve the flow's slot.
    DropNoNode, drop_no_node;
    /// Dropped: the way to the node is not known yet.
    DropUnresolved, drop_unresolved;
    /// Dropped: a table points where there is nothing. A defect of ours.
    DropBadTable, drop_bad_table;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        for &reason in Reason::ALL {
            let mut counters = Counters::default();
            counters.count(reason);
            let hit: u64 = counters.iter().filter(|(r, _)| *r == reason).map(|(_, n)| n).sum();
            let all: u64 = counters.iter().map(|(_, n)| n).sum();
            assert_eq!((hit, all), (1, 1), "{}", reason.name());
        }
    }
}
