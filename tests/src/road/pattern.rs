//! Content that tells when a byte of it is missing, doubled, moved or changed.

use std::sync::OnceLock;

/// After so many bytes it repeats: a prime, so that no packet's length divides it.
const PERIOD: usize = 65_521;

/// The most that can be had at once.
pub const MOST: usize = 32_768;

/// The bytes of the content from an offset on, at most [`MOST`].
#[must_use]
pub fn bytes(offset: u64, length: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        // Knuth's multiplicative generator (MMIX); the high bits are the random ones.
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(PERIOD).collect();
        bytes.extend_from_within(..MOST);
        bytes
    });
    let start = (offset % PERIOD as u64) as usize;
    &bytes[start..start + length.min(MOST)]
}

/// Whether these are the content's bytes at an offset.
#[must_use]
pub fn is_right(offset: u64, seen: &[u8]) -> bool {
    let mut offset = offset;
    seen.chunks(MOST).all(|chunk| {
        let right = chunk == bytes(offset, chunk.len());
        offset += chunk.len() as u64;
        right
    })
}

#[cfg(test)]
mod tests {
    use super::{MOST, bytes, is_right};

    #[test]
    fn what_is_moved_or_changed_is_not_right() {
        for offset in [0, 1, 65_520, 65_521, 1 << 40] {
            let mut seen = bytes(offset, MOST).to_vec();
            seen.extend(bytes(offset + MOST as u64, 1000));
            assert!(is_right(offset, &seen));
            assert!(!is_right(offset + 1, &seen) && !is_right(offset + 1460, &seen));
            let last = seen.len() - 1;
            seen[last] ^= 1;
            assert!(!is_right(offset, &seen));
        }
    }
}
