//! A set of members, by position.

use std::slice;

/// A set of small numbers. Sets made for the same length are equal, and hash and compare equally,
/// if they have the same numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits(Words);

/// Most sets fit one word; these are cheap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Words {
    One(u64),
    More(Box<[u64]>),
}

impl Bits {
    /// The empty set, with room for `0..len`.
    pub fn none(len: usize) -> Self {
        Self(if len <= 64 { Words::One(0) } else { Words::More(vec![0; len.div_ceil(64)].into()) })
    }

    /// The set of those of `0..len` for which `has` holds.
    pub fn of(len: usize, has: impl Fn(usize) -> bool) -> Self {
        let mut bits = Self::none(len);
        (0..len).filter(|&i| has(i)).for_each(|i| bits.insert(i as u16));
        bits
    }

    fn words(&self) -> &[u64] {
        match &self.0 {
            Words::One(word) => slice::from_ref(word),
            Words::More(words) => words,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.0 {
            Words::One(word) => slice::from_mut(word),
            Words::More(words) => words,
        }
    }

    /// Whether it has this number.
    pub fn contains(&self, i: u16) -> bool {
        self.words()[usize::from(i >> 6)] >> (i & 63) & 1 == 1
    }

    /// Adds a number.
    pub fn insert(&mut self, i: u16) {
        self.words_mut()[usize::from(i >> 6)] |= 1 << (i & 63);
    }

    /// The set with this number too.
    pub fn with(&self, i: u16) -> Self {
        let mut bits = self.clone();
        bits.insert(i);
        bits
    }

    /// What either set has.
    pub fn union(&self, other: &Self) -> Self {
        let mut bits = self.clone();
        bits.words_mut().iter_mut().zip(other.words()).for_each(|(a, b)| *a |= b);
        bits
    }

    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.words().iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|&word| word == 0)
    }

    /// Its numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0u16..).zip(self.words()).flat_map(|(place, &word)| {
            let left = std::iter::successors(Some(word), |word| Some(word & word.wrapping_sub(1)));
            let left = left.take_while(|&word| word != 0);
            left.map(move |word| place * 64 + word.trailing_zeros() as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_sets() {
        for len in [1u16, 63, 64, 65, 128, 129, 4096] {
            let end = len - 1;
            let mut bits = Bits::none(len.into());
            assert!(bits.is_empty());
            bits.insert(end);
            let both = bits.with(0);
            assert_eq!(
                both.iter().collect::<Vec<_>>(),
                if end == 0 { vec![0] } else { vec![0, end] }
            );
            assert_eq!(both, Bits::of(len.into(), |i| i == 0 || i == usize::from(end)));
            assert_eq!(bits.union(&both).len(), both.len());
            assert!(both.contains(0) && both.contains(end) && (end < 2 || !both.contains(1)));
        }
    }
}
