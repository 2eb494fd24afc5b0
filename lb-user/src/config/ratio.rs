//! A ratio from its decimal text, exactly: 0.28 is 28/100, never the nearest binary fraction.

use super::types::Ratio;

/// The most digits after the point: a power of ten of more does not fit 64 bits with room to spare.
const MAX_DIGITS: usize = 18;

impl Ratio {
    /// From text like `0.6`, as written in the file.
    ///
    /// # Errors
    /// If it is no plain decimal number, outside 0..=1, or of too many digits.
    pub fn from_decimal(text: &str) -> Result<Self, RatioError> {
        if text.starts_with('-') {
            return Err(RatioError::OutOfRange);
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(RatioError::NotDecimal);
        }
        if fraction.len() > MAX_DIGITS {
            return Err(RatioError::TooLong);
        }
        let value = |part: &str| part.bytes().fold(0, |n, b| n * 10 + u64::from(b - b'0'));
        let denominator = 10u64.pow(fraction.len() as u32);
        match (whole.trim_start_matches('0'), value(fraction)) {
            ("", numerator) => Ok(Self { numerator, denominator }),
            ("1", 0) => Ok(Self { numerator: denominator, denominator }),
            _ => Err(RatioError::OutOfRange),
        }
    }
}

/// Why a text is no ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// Letters, an exponent, `inf`, `nan`.
    #[error("not a plain decimal number")]
    NotDecimal,
    /// Below 0 or above 1.
    #[error("a ratio is between 0 and 1")]
    OutOfRange,
    /// More digits than can be kept exactly.
    #[error("a ratio has at most 18 digits after the point")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_kept_exactly() {
        let ratio = |numerator, denominator| Ok(Ratio { numerator, denominator });
        for (text, expected) in [
            ("0.28", ratio(28, 100)),
            ("0.55", ratio(55, 100)),
            ("0.50", ratio(50, 100)),
            ("+0.5", ratio(5, 10)),
            ("0.0", ratio(0, 10)),
            ("0", ratio(0, 1)),
            ("1", ratio(1, 1)),
            ("1.0", ratio(10, 10)),
            ("1.000000000000000000", ratio(10u64.pow(18), 10u64.pow(18))),
            ("0.999999999999999999", ratio(10u64.pow(18) - 1, 10u64.pow(18))),
            ("0.1234567890123456789", Err(RatioError::TooLong)),
            ("1.000000000000000001", Err(RatioError::OutOfRange)),
            ("2", Err(RatioError::OutOfRange)),
            ("99999999999999999999999.0", Err(RatioError::OutOfRange)),
            ("-0.5", Err(RatioError::OutOfRange)),
            ("5e-1", Err(RatioError::NotDecimal)),
            ("inf", Err(RatioError::NotDecimal)),
            ("nan", Err(RatioError::NotDecimal)),
            (".5", Err(RatioError::NotDecimal)),
            ("", Err(RatioError::NotDecimal)),
        ] {
            assert_eq!(Ratio::from_decimal(text), expected, "{text:?}");
        }
    }
}
