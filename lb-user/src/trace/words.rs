//! What became of a packet, in words.

use lb_common::Reason;
use lb_ebpf::Action;

/// The verdict, as machines are told.
#[must_use]
pub const fn action(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Tx => "tx",
        Action::Redirect => "redirect",
    }
}

/// The reason, as people are told.
#[must_use]
pub const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ForwardTx => "sent to the node, out of the interface it came in by",
        Reason::ForwardRedirect => "sent to the node, out of another interface",
        Reason::ForwardIcmp => "an ICMP error, sent to the node of the flow that it is about",
        Reason::ForwardFragment => "a later fragment, sent to the node of the first",
        Reason::ReplySent => "a node's reply, sent to the client as the service's",
        Reason::ReplyToHost => "a node's reply, given to the host as the service's",
        Reason::AnswerEcho => "an echo request, answered",
        Reason::AnswerTooBig => "too big for its way: its sender is told",
        Reason::PassTooBig => "too big for the way to the node: the host fragments it",
        Reason::PassNotIp => "neither IPv4 nor IPv6",
        Reason::PassMalformed => "cut off, or its headers contradict each other",
        Reason::PassNotVip => "not to the address of a service",
        Reason::PassNoService => "no service has this protocol and port",
        Reason::PassNotOurs => "to a group, or to another MAC: somebody else's",
        Reason::PassExpired => "a node's reply whose time to live ends here",
        Reason::DropMalformed => "cut off, or its headers contradict each other",
        Reason::DropMartian => "from an address that nobody sends from",
        Reason::DropIcmp => "an ICMP error that quotes no packet of the service",
        Reason::DropEcho => "an echo request, and no service on this address has a node",
        Reason::DropFragment => "a later fragment whose first was not seen",
        Reason::DropTooBig => "too big for the way to the node, and nobody fragments it",
        Reason::DropTooBigSilent => "too big for the way to the node, and enough senders were told",
        Reason::DropVersion => "the node is of the other IP version",
        Reason::DropNoRoom => "no room for another header",
        Reason::DropNoCluster => "no cluster may serve this slot",
        Reason::DropNoNode => "no node may serve this slot",
        Reason::DropUnresolved => "the way to the node is not known",
        Reason::PinLookedFor => "its slot moved a while ago: its pin was looked for",
        Reason::PinMade => "pinned to its node",
        Reason::PinRefused => "no room for a pin",
        Reason::DropBadTable => "a table points where there is nothing: a defect of understudy",
    }
}
