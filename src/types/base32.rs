//! Keys and secrets as text: base 32 in lower case (RFC 4648, section 6), with a check at the end.
//!
//! Body and check are together a multiple of 5 bytes, so that the text has no rest. Buffers are the caller's, who may
//! have to overwrite them.

/// Reason why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has another length.
    #[error("a key has 56 characters, and this has {0}")]
    Length(usize),
    /// A character that no key has.
    #[error("a key has the characters a to z and 2 to 7, and no others")]
    Character,
    /// A character is wrong, or two are exchanged.
    #[error("the key has a typing error: its check does not match")]
    Check,
}

/// Returns the length of the text for this many bytes, those of the check among them.
pub(crate) const fn text_len(bytes: usize) -> usize {
    bytes / 5 * 8
}

/// Appends the text of `bytes`, whose last `check` are set to the check of the others under this purpose.
pub(crate) fn encode(purpose: &str, bytes: &mut [u8], check: usize, text: &mut String) {
    let (body, end) = bytes.split_at_mut(bytes.len().saturating_sub(check));
    fill_check(purpose, body, end);
    for group in bytes.chunks(5) {
        let word = group.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let low = |digit: u32| usize::from((word >> (5 * digit)).to_le_bytes()[0] & 31);
        let digits = (0..8).rev().map(|digit| ALPHABET[low(digit)]);
        text.extend(digits.map(char::from));
    }
}

/// Reads a text into `bytes`, whose last `check` are the check of the others. Upper and lower case
/// are accepted.
pub(crate) fn decode(
    purpose: &str,
    text: &str,
    bytes: &mut [u8],
    check: usize,
) -> Result<(), KeyError> {
    if text.len() != text_len(bytes.len()) {
        return Err(KeyError::Length(text.chars().count()));
    }
    for (group, digits) in bytes.chunks_mut(5).zip(text.as_bytes().chunks(8)) {
        let mut word = 0_u64;
        for digit in digits {
            word = word << 5 | u64::from(value(*digit).ok_or(KeyError::Character)?);
        }
        group.iter_mut().zip(&word.to_be_bytes()[3..]).for_each(|(to, from)| *to = *from);
    }
    let (body, end) = bytes.split_at(bytes.len().saturating_sub(check));
    let mut expected = [0; 8];
    let expected = &mut expected[..end.len()];
    fill_check(purpose, body, expected);
    if *end == *expected { Ok(()) } else { Err(KeyError::Check) }
}

fn value(digit: u8) -> Option<u8> {
    match digit.to_ascii_lowercase() {
        letter @ b'a'..=b'z' => Some(letter - b'a'),
        number @ b'2'..=b'7' => Some(number - b'2' + 26),
        _ => None,
    }
}

/// Fills in the first bytes of a hash, under a name for what the text is used for.
fn fill_check(purpose: &str, body: &[u8], check: &mut [u8]) {
    let hash = blake3::derive_key(purpose, body);
    check.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_rfc_4648_in_lower_case() {
        // Section 10: `foobar` has a rest; its first five bytes have none.
        let mut text = String::new();
        encode("", &mut b"fooba".to_owned(), 0, &mut text);
        assert_eq!(text, "mzxw6ytb");
        let mut bytes = [0; 5];
        assert_eq!(decode("", "MZXW6YTB", &mut bytes, 0), Ok(()));
        assert_eq!(&bytes, b"fooba");
    }
}
