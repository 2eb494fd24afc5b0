//! A set of members, by position.

/// A set of small numbers. Equal sets are equal, hash equally and compare equally.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits(Box<[u64]>);

impl Bits {
    /// The empty set, with room for `0..len`.
    pub fn none(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)].into())
    }

    /// The set of those of `0..len` for which `has` holds.
    pub fn of(len: usize, has: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::none(len);
        (0..len).filter(|&i| has(i)).for_each(|i| bits.insert(i as u16));
        bits
    }

    /// Whether it has this number.
    pub fn contains(&self, i: u16) -> bool {
        self.0[usize::from(i >> 6)] >> (i & 63) & 1 == 1
    }

    /// Adds a number.
    pub fn insert(&mut self, i: u16) {
        self.0[usize::from(i >> 6)] |= 1 << (i & 63);
    }

    /// The set with this number too.
    pub fn with(&self, i: u16) -> Self {
        let mut bits = self.clone();
        bits.insert(i);
        bits
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Its numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0u16..).zip(&self.0).flat_map(|(place, &word)| {
            let left = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            let left = left.take_while(|&word| word != 0);
            left.map(move |word| place * 64 + word.trailing_zeros() as u16)
        })
    }

    /// What either set has.
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }
}
