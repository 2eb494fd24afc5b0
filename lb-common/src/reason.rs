//! Why a packet ended as it did: one reason a verdict, one counter a reason.

/// Defines the reasons and, from the same list, the struct of counters that bpftool shows by
/// field name.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident, $field:ident;)+) => {
        /// Why a packet got its verdict, or what else happened to it. The number is the index of its
        /// counter.
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
                self.count_times(reason, 1);
            }

            /// Count so many packets.
            #[inline(always)]
            pub fn count_times(&mut self, reason: Reason, times: u64) {
                match reason {
                    $(Reason::$variant => self.$field = self.$field.wrapping_add(times),)+
                }
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
    /// An ICMP error about a flow, sent to the flow's node.
    ForwardIcmp, forward_icmp;
    /// A later fragment, sent to the node of the first.
    ForwardFragment, forward_fragment;
    /// A `nat` node's reply, sent to the client as the service's.
    ReplySent, reply_sent;
    /// A `nat` node's reply, given to the host as the service's: the way to the client is not by an
    /// interface of ours, or the host has yet to find it.
    ReplyToHost, reply_to_host;
    /// An ICMP echo request to a service's address, answered.
    AnswerEcho, answer_echo;
    /// Too big for the way to the node, or a `nat` node's reply too big for the host's way to the client:
    /// its sender was told so by ICMP.
    AnswerTooBig, answer_too_big;
    /// Too big for the way to the node, ready for it, and given to the host to be fragmented.
    PassTooBig, pass_too_big;
    /// Passed: neither IPv4 nor IPv6 (ARP, ...).
    PassNotIp, pass_not_ip;
    /// Passed: the frame ends before the headers that it announces, or they contradict each other,
    /// and it is not known to be for a service.
    PassMalformed, pass_malformed;
    /// Passed: not to the address of a service, or of IPv6 with an IPv4-mapped address at either end.
    PassNotVip, pass_not_vip;
    /// Passed: to the address of a service, but no service has that protocol and port.
    PassNoService, pass_no_service;
    /// Passed: for a service, or a `nat` node's reply, but the frame is not to the MAC of the interface
    /// that it came in by: a switch floods it. Where that MAC is not known: to the `l2` node's own. Of
    /// packets for a service also frames to a group.
    PassNotOurs, pass_not_ours;
    /// Passed: a `nat` node's reply whose time to live ends here; the host says so to the node.
    PassExpired, pass_expired;
    /// Dropped: for a service's address, but cut off, or its headers contradict each other.
    DropMalformed, drop_malformed;
    /// Dropped: for a service, from an address that nobody sends from: a service's, loopback,
    /// multicast, none (RFC 1122, 3.2.1.3; RFC 4291, 2.5).
    DropMartian, drop_martian;
    /// Dropped: an ICMP error to a service's address that quotes no packet of that address.
    DropIcmp, drop_icmp;
    /// Dropped: an ICMP echo request to an address none of whose services has a node.
    DropEcho, drop_echo;
    /// Dropped: a later fragment whose first was not seen.
    DropFragment, drop_fragment;
    /// Dropped: too big for its way, and nobody here may fragment it, or tell its sender.
    DropTooBig, drop_too_big;
    /// Dropped: too big for the way to the node, and too many senders were told within this second.
    DropTooBigSilent, drop_too_big_silent;
    /// Dropped: the node's forwarding cannot carry it: `nat` to another IP version.
    DropVersion, drop_version;
    /// Dropped: the driver gave no room for another header.
    DropNoRoom, drop_no_room;
    /// Dropped: no cluster may serve the flow's slot.
    DropNoCluster, drop_no_cluster;
    /// Dropped: no node of the cluster may serve the flow's slot.
    DropNoNode, drop_no_node;
    /// Dropped: the way to the node is not known yet.
    DropUnresolved, drop_unresolved;
    /// Dropped: a table points where there is nothing. A defect of ours.
    DropBadTable, drop_bad_table;
    /// Beside its verdict: its slot moved a while ago, and its pin was looked for.
    PinLookedFor, pin_looked_for;
    /// Beside its verdict: a pin was made.
    PinMade, pin_made;
    /// Beside its verdict: there was no room for a pin, and it went to the slot's old owner, or its new
    /// one if that is down.
    PinRefused, pin_refused;
}

impl Reason {
    /// Whether it is counted beside a packet's verdict, and is none itself.
    pub const fn is_beside(self) -> bool {
        matches!(self, Self::PinLookedFor | Self::PinMade | Self::PinRefused)
    }
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
