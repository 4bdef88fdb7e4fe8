//! Whole sessions, byte for byte, against files that are committed: what travels is what travelled before.
//! `HAUL_BLESS=1` writes them anew.
#![expect(clippy::disallowed_methods, reason = "golden files are files")]

use std::fs;
use std::path::PathBuf;

use super::{is_set, scenes};

/// Compares with a committed file, or writes it.
pub(super) fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if is_set("HAUL_BLESS") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let expected = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if expected == bytes {
        return;
    }
    let at = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    let line = expected[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    panic!(
        "{name} differs from byte {at} (line {line}) on; if that is meant, run with HAUL_BLESS=1"
    );
}

#[test]
fn second_connection_of_a_session_that_is_remembered_is_what_it_was() {
    let scene = scenes::scene("two-blocks");
    let mut pair = scene.pair();
    // The first block is there, half of the second is not.
    pair.down.cut = Some(1300);
    pair.run_while_moving();
    pair.reconnect_parked(&scene.config, 2);
    pair.run_well();
    check("remembered.down.bin", &pair.down.record);
    check("remembered.up.bin", &pair.up.record);
}

#[test]
fn session_of_every_scene_is_what_it_was() {
    for scene in scenes::all() {
        let mut pair = scene.pair();
        let _ = pair.run();
        check(&format!("{}.down.bin", scene.name), &pair.down.record);
        check(&format!("{}.up.bin", scene.name), &pair.up.record);
    }
}
