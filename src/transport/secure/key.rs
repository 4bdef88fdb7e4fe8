//! Keys: how they are made, kept, shown and read.

use std::fmt;
use std::io::{self, ErrorKind};
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

/// The secret half of an identity: an Ed25519 key. Whoever has it is taken for its owner.
///
/// It is never shown: [`Debug`](fmt::Debug) gives the public half. Its bytes are overwritten when it is dropped.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; KEY]>,
    public: PublicKey,
}

/// The public half of an identity, by which a peer is known.
///
/// It is shown as 56 characters, `a` to `z` and `2` to `7`: 32 bytes of key and 3 bytes by which a slip is noticed, in
/// the alphabet of RFC 4648 in lower case. [`FromStr`] reads these, in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY]);

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It has another length.
    #[error("a key has 56 characters, and this has {0}")]
    Length(usize),
    /// A character that no key has.
    #[error("a key has the characters a to z and 2 to 7, and no others")]
    Character,
    /// A character is wrong, or two are exchanged.
    #[error("the key has a typing error: its check does not match")]
    Check,
}

impl SecretKey {
    /// Makes a new key, from the random numbers of the system.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Other`] where the system gives no random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; KEY]);
        SystemRandom::new()
            .fill(&mut *seed)
            .map_err(|_| io::Error::other("the system gives no random numbers for a key"))?;
        Self::from_seed(seed)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Reads a key as [`SecretKey::to_text`] writes it. For whoever keeps keys elsewhere than in files.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] with a [`KeyError`].
    pub fn from_text(text: &str) -> io::Result<Self> {
        let invalid = |error: KeyError| io::Error::new(ErrorKind::InvalidData, error);
        let seed = decode(SECRET, text.trim_ascii()).map_err(invalid)?;
        Self::from_seed(seed)
    }

    /// The key as text, to be kept where nobody else reads it: 56 characters, as a public key has, which it cannot be taken
    /// for. The text is overwritten when it is dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        encode(SECRET, &self.seed)
    }

    fn from_seed(seed: Zeroizing<[u8; KEY]>) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "no Ed25519 key has this seed"))?;
        let bytes = pair.public_key().as_ref().try_into();
        let public = bytes.map_err(|_| io::Error::other("an Ed25519 key has 32 bytes"))?;
        Ok(Self { seed, public: PublicKey(public) })
    }

    /// As PKCS #8 has it (RFC 8410, section 7).
    pub(super) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut document = Zeroizing::new(Vec::with_capacity(PKCS8.len() + KEY));
        document.extend_from_slice(PKCS8);
        document.extend_from_slice(&*self.seed);
        document
    }
}

impl PublicKey {
    /// The 32 bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key of 32 bytes, which need not be one that anybody has the secret half of.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As certificates have it (RFC 8410, section 4).
    pub(super) fn to_spki(self) -> Vec<u8> {
        [SPKI, &self.0].concat()
    }

    /// `None`: it is the key of another algorithm.
    pub(super) fn from_spki(spki: &[u8]) -> Option<Self> {
        spki.strip_prefix(SPKI)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(PUBLIC, &self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(PUBLIC, text).map(|key| Self(*key))
    }
}

/// The key and the first bytes of its hash, under a name for what it is used for.
fn encode(purpose: &str, key: &[u8; KEY]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; KEY + CHECK]);
    let (body, end) = bytes.split_at_mut(KEY);
    body.copy_from_slice(key);
    end.copy_from_slice(&check(purpose, key));
    let mut text = Zeroizing::new(BASE32_NOPAD.encode(&*bytes));
    text.make_ascii_lowercase();
    text
}

fn decode(purpose: &str, text: &str) -> Result<Zeroizing<[u8; KEY]>, KeyError> {
    if text.len() != TEXT {
        return Err(KeyError::Length(text.chars().count()));
    }
    let mut bytes = Zeroizing::new([0; KEY + CHECK]);
    BASE32_NOPAD_NOCASE
        .decode_mut(text.as_bytes(), &mut *bytes)
        .map_err(|_| KeyError::Character)?;
    let mut key = Zeroizing::new([0; KEY]);
    let (body, end) = bytes.split_at(KEY);
    key.copy_from_slice(body);
    if end == check(purpose, &key) { Ok(key) } else { Err(KeyError::Check) }
}

fn check(purpose: &str, key: &[u8; KEY]) -> [u8; CHECK] {
    let hash = blake3::derive_key(purpose, key);
    [hash[0], hash[1], hash[2]]
}

/// The bytes of an Ed25519 key (RFC 8032).
const KEY: usize = 32;

/// Bytes of a check: one typing error in 16 million is missed. With the key, a multiple of 5, so that base 32 has no rest.
const CHECK: usize = 3;

/// The characters of a key with its check.
const TEXT: usize = (KEY + CHECK) * 8 / 5;

const PUBLIC: &str = "haul: check of a public key, version 1";
const SECRET: &str = "haul: check of a secret key, version 1";

/// What stands before an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410, section 10.1).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the seed of an Ed25519 key in a `PrivateKeyInfo` (RFC 8410, section 10.3).
const PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_is_that_of_rfc_8032() {
        // Section 7.1, test 1.
        let seed = data_encoding::HEXLOWER
            .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let key = SecretKey::from_seed(Zeroizing::new(seed.try_into().unwrap())).unwrap();
        let public = data_encoding::HEXLOWER.encode(key.public().as_bytes());
        assert_eq!(public, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assert_eq!(PublicKey::from_spki(&key.public().to_spki()), Some(key.public()));
    }

    #[test]
    fn secret_is_shown_by_nothing_but_its_text() {
        let key = SecretKey::generate().unwrap();
        let (text, shown) = (key.to_text(), format!("{key:?} {:?}", (&key, key.public())));
        let seed = data_encoding::HEXLOWER.encode(&*key.seed);
        for secret in [text.as_str(), &seed, &seed[..16], &format!("{:?}", *key.seed)] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(SecretKey::from_text(&text).unwrap().public(), key.public());
        let error = SecretKey::from_text(&key.public().to_string()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Check));
    }

    #[test]
    fn keys_differ() {
        let keys = [(); 8].map(|()| SecretKey::generate().unwrap().public());
        let all: std::collections::BTreeSet<_> = keys.into_iter().collect();
        assert_eq!(all.len(), 8);
    }

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
