//! What is to be looked at anew after announcements.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// What is to be looked at anew.
#[derive(Default)]
pub(super) struct Due {
    pub all: bool,
    pub links: bool,
    /// What a neighbour says means something else than before.
    pub neighbours: bool,
    /// Addresses of nodes that may have another route.
    pub routes: BTreeSet<IpAddr>,
    /// What is not announced.
    pub again: bool,
}

impl Due {
    /// Whether there is anything.
    pub(super) fn is_something(&self) -> bool {
        self.all || self.links || self.neighbours || self.again || !self.routes.is_empty()
    }
}

/// The addresses with a prefix.
pub(super) fn within(prefix: IpAddr, length: u8) -> RangeInclusive<IpAddr> {
    match prefix {
        IpAddr::V4(prefix) => {
            let rest = u32::MAX.checked_shr(length.into()).unwrap_or(0);
            let bits = prefix.to_bits();
            let [first, last] = [bits & !rest, bits | rest].map(Ipv4Addr::from_bits);
            first.into()..=last.into()
        }
        IpAddr::V6(prefix) => {
            let rest = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            let bits = prefix.to_bits();
            let [first, last] = [bits & !rest, bits | rest].map(Ipv6Addr::from_bits);
            first.into()..=last.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn a_prefix_covers_its_addresses() {
        let table = [
            ("10.1.2.3", 32, "10.1.2.3", "10.1.2.3"),
            ("10.1.2.0", 23, "10.1.2.0", "10.1.3.255"),
            ("0.0.0.0", 0, "0.0.0.0", "255.255.255.255"),
            ("2001:db8::", 64, "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff"),
            ("2001:db8::1", 128, "2001:db8::1", "2001:db8::1"),
            ("::", 0, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ];
        for (prefix, length, first, last) in table {
            let parsed = [prefix, first, last].map(|text| text.parse().expect("an address"));
            assert_eq!(within(parsed[0], length), parsed[1]..=parsed[2], "{prefix}/{length}");
        }
    }
}
