//! Frames as people write them: hexadecimal digits, with or without blanks and colons between bytes.

use std::fmt::Write;

use thiserror::Error;

/// A text is no frame.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HexError {
    #[error("'{0}' is no hexadecimal digit")]
    Digit(char),
    #[error("half a byte: \"{0}\" has an odd number of digits")]
    Odd(String),
    #[error("no bytes")]
    Empty,
}

/// The bytes of a frame.
///
/// # Errors
/// [`HexError`].
pub fn parse(text: &str) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for word in text.split(|c: char| c.is_whitespace() || c == ':') {
        let digit = |c: char| c.to_digit(16).map(|d| d as u8).ok_or(HexError::Digit(c));
        let digits = word.chars().map(digit).collect::<Result<Vec<u8>, _>>()?;
        let (pairs, []) = digits.as_chunks() else { return Err(HexError::Odd(word.to_owned())) };
        bytes.extend(pairs.iter().map(|[high, low]| high << 4 | low));
    }
    if bytes.is_empty() { Err(HexError::Empty) } else { Ok(bytes) }
}

/// The same, written plainly in lower case.
#[must_use]
pub fn print(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_any_dress_and_what_is_wrong_with_others() {
        let bytes = || Ok(vec![0x02, 0xab, 0xff]);
        let cases = [
            ("02abff", bytes()),
            (" 02 AB\tfF ", bytes()),
            ("02:ab:ff", bytes()),
            ("02ab: ff", bytes()),
            ("", Err(HexError::Empty)),
            (" : ", Err(HexError::Empty)),
            ("02abf", Err(HexError::Odd("02abf".to_owned()))),
            ("02 a bff", Err(HexError::Odd("a".to_owned()))),
            ("0x02", Err(HexError::Digit('x'))),
            ("02-ab", Err(HexError::Digit('-'))),
            ("02 äb", Err(HexError::Digit('ä'))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(print(&[2, 0xab, 0xff]), "02abff");
    }
}
