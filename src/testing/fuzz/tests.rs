#![expect(clippy::disallowed_methods, reason = "corpora are files")]

use std::fs;
use std::path::Path;

use super::*;

/// Bytes that look random and are the same each time.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn targets_with_their_corpora_keep_all_promises() {
    for (name, body) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs = 0;
        for file in fs::read_dir(&folder).expect("every target has a corpus") {
            body(&fs::read(file.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{} is empty", folder.display());
    }
}

#[test]
fn targets_with_noise_keep_all_promises() {
    for (_, body) in TARGETS {
        (0..300).for_each(|seed| body(&noise(seed, 20 + 3 * seed as usize)));
    }
}
