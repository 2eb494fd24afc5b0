//! From the 128-bit secret of the configuration to the key words of the flow hash.

use std::{fs::File, hash::Hasher, io, io::Read};

use lb_common::{HashAlgorithm, HashKey, hash::KEY_WORDS};
use siphasher::sip::SipHasher24;

/// The key words of a secret: SipHash-2-4 of their numbers under it, odd where they multiply.
#[must_use]
pub fn expand(secret: &[u8; 16], algorithm: HashAlgorithm) -> HashKey {
    let mut words = [0; KEY_WORDS];
    for (number, word) in (0u64..).zip(&mut words) {
        let mut hasher = SipHasher24::new_with_key(secret);
        hasher.write_u64(number.to_le());
        *word = hasher.finish();
        if algorithm == HashAlgorithm::Multilinear {
            *word |= 1;
        }
    }
    HashKey { words, algorithm: algorithm as u32, reserved: 0 }
}

/// A new secret from the kernel's random source.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn generate() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_depend_on_every_bit_of_the_secret_and_on_nothing_else() {
        let zero = expand(&[0; 16], HashAlgorithm::Multilinear);
        assert_eq!(zero, expand(&[0; 16], HashAlgorithm::Multilinear));
        for bit in 0..128 {
            let mut secret = [0; 16];
            secret[bit / 8] |= 1 << (bit % 8);
            let other = expand(&secret, HashAlgorithm::Multilinear);
            assert!(zero.words.iter().zip(&other.words).all(|(a, b)| a != b), "bit {bit}");
        }
        assert!(zero.words.iter().all(|word| word % 2 == 1));
    }
}
