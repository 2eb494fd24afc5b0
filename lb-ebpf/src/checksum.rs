//! The Internet checksum: sums of 16-bit words in ones' complement arithmetic (RFC 1071), and its
//! update when a part of what it covers changes (RFC 1624).

/// Numbers that are added up before they are folded to 16 bits. Words in host order: a field is
/// read and written in network order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// From a sum that is folded already.
    #[inline(always)]
    pub(crate) const fn from(folded: u16) -> Self {
        Self(folded as u64)
    }

    /// Adds a 16-bit word.
    #[inline(always)]
    pub(crate) const fn add(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds both halves of a 32-bit word.
    #[inline(always)]
    pub(crate) const fn add32(self, word: u32) -> Self {
        Self(self.0 + (word >> 16) as u64 + (word & 0xffff) as u64)
    }

    /// Adds an address: of IPv4 its own word only.
    #[inline(always)]
    pub(crate) const fn address(self, a: [u32; 4], v6: bool) -> Self {
        let last = self.add32(a[3]);
        if v6 { last.add32(a[0]).add32(a[1]).add32(a[2]) } else { last }
    }

    /// What takes a number away: `!x` is `-x` in this arithmetic.
    #[inline(always)]
    pub(crate) const fn negated(self) -> Self {
        Self(!self.folded() as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.folded() as u64)
    }

    /// In 16 bits.
    #[inline(always)]
    pub(crate) const fn folded(self) -> u16 {
        let a = (self.0 & 0xffff) + (self.0 >> 16 & 0xffff) + (self.0 >> 32 & 0xffff);
        let b = (a & 0xffff) + (a >> 16);
        ((b & 0xffff) + (b >> 16)) as u16
    }

    /// The checksum of what was summed up.
    #[inline(always)]
    pub(crate) const fn checksum(self) -> u16 {
        !self.folded()
    }

    /// A checksum field after this change of what it covers: equation 3 of RFC 1624.
    #[inline(always)]
    pub(crate) const fn update(self, field: u16) -> u16 {
        !Self(!field as u64).plus(self).folded()
    }

    /// A change from one word to another.
    #[inline(always)]
    pub(crate) const fn change(from: u16, to: u16) -> Self {
        Self(!from as u64 + to as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: a field 0x5555 becomes 0x3285 under the checksum 0xdd2f, which becomes 0.
        assert_eq!(Sum::change(0x5555, 0x3285).update(0xdd2f), 0x0000);
    }

    #[test]
    fn an_update_is_as_good_as_a_new_sum() {
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 48) as u16
        };
        for _ in 0..20_000 {
            let mut words = [next(), next(), next(), next()];
            let before = words.iter().fold(Sum::default(), |sum, &word| sum.add(word)).checksum();
            let change = Sum::change(words[1], 7).plus(Sum::change(words[3], 0xffff));
            (words[1], words[3]) = (7, 0xffff);
            let after = words.iter().fold(Sum::default(), |sum, &word| sum.add(word)).checksum();
            assert_eq!(change.update(before), after, "{words:?}");
        }
    }

    #[test]
    fn words_of_any_size_sum_up_alike() {
        let halves = Sum::default().add(0x1234).add(0xffee);
        assert_eq!(halves.folded(), Sum::default().add32(0x1234_ffee).folded());
        let mapped = [0, 0, 0xffff, 0xc000_020a];
        assert_eq!(Sum::default().address(mapped, false).folded(), 0xc20a);
        assert_eq!(Sum::default().address(mapped, true).folded(), 0xc20a, "0xffff is 0");
        assert_eq!(Sum::from(0xc20a).plus(Sum::from(0xc20a).negated()).folded(), 0xffff);
    }
}
