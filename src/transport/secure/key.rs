//! Keys: how they are made, kept, shown and read.

use std::fmt;
use std::io::{self, ErrorKind};

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::types::{KeyError, PublicKey, TransferId, base32};

/// The secret half of an identity: an Ed25519 key. Whoever has it is taken for its owner.
///
/// It is never shown: [`Debug`](fmt::Debug) gives the public half. Its bytes are overwritten when it is dropped.
#[derive(Clone)]
pub struct SecretKey {
    seed: Zeroizing<[u8; KEY]>,
    public: PublicKey,
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

    /// Returns the public half.
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
        let mut bytes = Zeroizing::new([0; KEY + CHECK]);
        base32::decode(SECRET, text.trim_ascii(), &mut *bytes, CHECK).map_err(invalid)?;
        let mut seed = Zeroizing::new([0; KEY]);
        seed.copy_from_slice(&bytes[..KEY]);
        Self::from_seed(seed)
    }

    /// Returns the key as text, to be kept where nobody else reads it: 56 characters, as a public key has, which it
    /// cannot be taken for. The text is overwritten when it is dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; KEY + CHECK]);
        bytes[..KEY].copy_from_slice(&*self.seed);
        let mut text = Zeroizing::new(String::with_capacity(base32::text_len(KEY + CHECK)));
        base32::encode(SECRET, &mut *bytes, CHECK, &mut text);
        text
    }

    /// Derives the id of a transfer, for [`Transfer::id`](crate::Transfer::id), from this key and from `parts` that say what
    /// is sent, such as absolute paths. The same parts in the same order give the same id, and nobody without the key can
    /// tell it.
    #[must_use]
    pub fn transfer_id<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> TransferId {
        let key = Zeroizing::new(blake3::derive_key(TRANSFER, &*self.seed));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        TransferId::new(id)
    }

    fn from_seed(seed: Zeroizing<[u8; KEY]>) -> io::Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, "no Ed25519 key has this seed"))?;
        let bytes = pair.public_key().as_ref().try_into();
        let public = bytes.map_err(|_| io::Error::other("an Ed25519 key has 32 bytes"))?;
        Ok(Self { seed, public: PublicKey::from_bytes(public) })
    }

    /// Returns the key in PKCS #8 form (RFC 8410, section 7).
    pub(super) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let mut document = Zeroizing::new(Vec::with_capacity(PKCS8.len() + KEY));
        document.extend_from_slice(PKCS8);
        document.extend_from_slice(&*self.seed);
        document
    }
}

/// Returns a public key as certificates have it (RFC 8410, section 4).
pub(super) fn to_spki(key: PublicKey) -> Vec<u8> {
    [SPKI, key.as_bytes()].concat()
}

/// Returns the key; `None` for a key of another algorithm.
pub(super) fn from_spki(spki: &[u8]) -> Option<PublicKey> {
    spki.strip_prefix(SPKI)?.try_into().ok().map(PublicKey::from_bytes)
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public)
    }
}

/// The bytes of an Ed25519 key (RFC 8032).
const KEY: usize = 32;

/// Bytes of a check: one typing error in 16 million is missed. With the key, a multiple of 5, so that base 32 has no
/// rest.
const CHECK: usize = 3;

const SECRET: &str = "haul: check of a secret key, version 1";

/// Prefix of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410, section 10.1).
const SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Prefix of the seed of an Ed25519 key in a `PrivateKeyInfo` (RFC 8410, section 10.3).
const PKCS8: &[u8] = &[
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Context of the key from which ids of transfers are derived.
const TRANSFER: &str = "haul transfer id 1";

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn key_is_that_of_rfc_8032() {
        // Section 7.1, test 1.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let mut bytes = Zeroizing::new([0; KEY]);
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&seed[2 * at..2 * at + 2], 16).unwrap();
        }
        let key = SecretKey::from_seed(bytes).unwrap();
        assert_eq!(
            hex(key.public().as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(from_spki(&to_spki(key.public())), Some(key.public()));
    }

    #[test]
    fn secret_is_shown_by_nothing_but_its_text() {
        let key = SecretKey::generate().unwrap();
        let (text, shown) = (key.to_text(), format!("{key:?} {:?}", (&key, key.public())));
        let seed = hex(&*key.seed);
        for secret in [text.as_str(), &seed, &seed[..16], &format!("{:?}", *key.seed)] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(SecretKey::from_text(&text).unwrap().public(), key.public());
        let error = SecretKey::from_text(&key.public().to_string()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Check));
    }

    #[test]
    fn transfer_id_depends_on_the_key_and_on_each_part() {
        let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let parts: [&[&[u8]]; 5] = [&[], &[b""], &[b"ab"], &[b"a", b"b"], &[b"b", b"a"]];
        let id = |key: &SecretKey, parts: &[&[u8]]| key.transfer_id(parts.iter().copied());
        let ids = [&key, &other].map(|key| parts.map(|parts| id(key, parts))).concat();
        let all: std::collections::BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(all.len(), ids.len());
        assert_eq!(parts.map(|parts| id(&key, parts))[..], ids[..5]);
        let again = SecretKey::from_text(&key.to_text()).unwrap();
        assert_eq!(id(&again, parts[2]), ids[2]);
    }

    #[test]
    fn keys_differ() {
        let keys = [(); 8].map(|()| SecretKey::generate().unwrap().public());
        let all: std::collections::BTreeSet<_> = keys.into_iter().collect();
        assert_eq!(all.len(), 8);
    }
}
