//! Identity of a peer: its public key, and how that is shown and read.

use std::fmt;
use std::str::FromStr;

use super::base32::{self, KeyError};

/// The public half of an identity, by which a peer is known.
///
/// It is shown as 56 characters, `a` to `z` and `2` to `7`: 32 bytes of key and 3 bytes by which a slip is noticed, in
/// the alphabet of RFC 4648 in lower case. [`FromStr`] reads these, in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY]);

impl PublicKey {
    /// Returns the 32 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns a key of 32 bytes, which need not be one that anybody has the secret half of.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; KEY + CHECK];
        bytes[..KEY].copy_from_slice(&self.0);
        let mut text = String::with_capacity(base32::text_len(KEY + CHECK));
        base32::encode(PURPOSE, &mut bytes, CHECK, &mut text);
        f.write_str(&text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; KEY + CHECK];
        base32::decode(PURPOSE, text, &mut bytes, CHECK)?;
        let mut key = [0; KEY];
        key.copy_from_slice(&bytes[..KEY]);
        Ok(Self(key))
    }
}

/// The bytes of an Ed25519 key (RFC 8032).
const KEY: usize = 32;

/// Bytes of a check: one typing error in 16 million is missed. With the key, a multiple of 5, so that base 32 has no
/// rest.
const CHECK: usize = 3;

const PURPOSE: &str = "haul: check of a public key, version 1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_with_any_character_changed_or_two_exchanged_is_no_key() {
        let text = PublicKey([7; 32]).to_string();
        assert_eq!(text.len(), 56);
        assert!(text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7')));
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(PublicKey([7; 32])));
        for at in 0..56 {
            for other in "abcdefghijklmnopqrstuvwxyz234567".chars() {
                let mut wrong: Vec<char> = text.chars().collect();
                if std::mem::replace(&mut wrong[at], other) != other {
                    let wrong: String = wrong.into_iter().collect();
                    assert_eq!(wrong.parse::<PublicKey>(), Err(KeyError::Check));
                }
            }
            let mut wrong: Vec<char> = text.chars().collect();
            wrong.swap(at, (at + 1) % 56);
            let wrong: String = wrong.into_iter().collect();
            assert_eq!(wrong.parse::<PublicKey>().is_ok(), wrong == text);
        }
        assert_eq!("".parse::<PublicKey>(), Err(KeyError::Length(0)));
        assert_eq!(text[1..].parse::<PublicKey>(), Err(KeyError::Length(55)));
        assert_eq!(text.replace('a', "1").parse::<PublicKey>(), Err(KeyError::Character));
    }

    proptest! {
        #[test]
        fn key_comes_back_from_its_text(bytes: [u8; 32]) {
            prop_assert_eq!(PublicKey(bytes).to_string().parse(), Ok(PublicKey(bytes)));
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text in "\\PC{0,60}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text.to_ascii_lowercase());
            }
        }
    }
}
