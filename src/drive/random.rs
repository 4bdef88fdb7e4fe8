//! Random numbers, from what the standard library seeds its hash maps with.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Returns 16 bytes that differ from call to call and from process to process. They need not be secret:
/// nothing is protected by them but one transfer from being taken for another.
pub(super) fn random_bytes() -> [u8; 16] {
    // The standard library seeds each `RandomState` from the system's random numbers.
    let word = || RandomState::new().build_hasher().finish();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&word().to_le_bytes());
    bytes[8..].copy_from_slice(&word().to_le_bytes());
    bytes
}

pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_bytes_do_not_repeat() {
        let many: HashSet<_> = (0..1000).map(|_| random_bytes()).collect();
        assert_eq!(many.len(), 1000);
    }
}
