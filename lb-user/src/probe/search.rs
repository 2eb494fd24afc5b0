//! Looks for some bytes in an answer that comes in pieces: what `expect` and `body` mean.

use memchr::memmem;

use crate::decide::MissReason;

/// A search. It keeps no more of the answer than could be the beginning of what it looks for.
pub(super) struct Search<'a> {
    wanted: &'a [u8],
    /// Bytes that may still be looked at.
    left: usize,
    tail: Vec<u8>,
}

impl<'a> Search<'a> {
    /// For `wanted` in the first `limit` bytes.
    pub(super) fn new(wanted: &'a [u8], limit: usize) -> Self {
        Self { wanted, left: limit, tail: Vec::new() }
    }

    /// Looks at the next piece: whether what is wanted has come. `BadAnswer` when the limit is
    /// reached without it.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<bool, MissReason> {
        let piece = &piece[..piece.len().min(self.left)];
        self.left -= piece.len();
        self.tail.extend_from_slice(piece);
        if memmem::find(&self.tail, self.wanted).is_some() {
            return Ok(true);
        }
        let kept = self.tail.len().min(self.wanted.len().saturating_sub(1));
        self.tail.drain(..self.tail.len() - kept);
        if self.left == 0 { Err(MissReason::BadAnswer) } else { Ok(false) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_is_there_however_it_comes(
            answer in prop::collection::vec(0_u8..3, 0..60),
            wanted in prop::collection::vec(0_u8..3, 0..4),
            limit in 1_usize..80,
            cuts in prop::collection::vec(1_usize..7, 60),
        ) {
            let seen = &answer[..answer.len().min(limit)];
            let there = wanted.is_empty() || seen.windows(wanted.len()).any(|w| w == wanted);
            let mut search = Search::new(&wanted, limit);
            let (mut rest, mut found, mut spent) = (&answer[..], Ok(false), false);
            for cut in cuts {
                if rest.is_empty() || spent {
                    break;
                }
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                found = search.feed(piece);
                spent = found != Ok(false);
                rest = later;
            }
            prop_assert_eq!(found == Ok(true), there && !answer.is_empty());
            prop_assert_eq!(found.is_err(), !there && answer.len() >= limit);
        }
    }
}
