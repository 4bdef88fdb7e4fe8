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
    pair.reconnect_suspended(&scene.config, 2);
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

/// Each golden session, taken apart and put together again; and cut anywhere, as far as it goes.
#[cfg(feature = "testing")]
#[test]
fn recording_of_every_scene_has_one_encoding() {
    use crate::testing::recording::Recording;

    for scene in scenes::all() {
        let mut pair = scene.pair();
        let _ = pair.run();
        let (down, up) = (&pair.down.record, &pair.up.record);
        let whole = Recording::parse(down, up).unwrap();
        let mut again = (Vec::new(), Vec::new());
        whole.encode(&mut again.0, &mut again.1);
        assert_eq!(again, (down.clone(), up.clone()), "{}", scene.name);
        // The preface is no frame.
        let framed: usize = whole.sender().map(|(_, len)| len).sum();
        assert_eq!(framed + 8, down.len(), "{}", scene.name);
        for cut in 0..down.len().min(2000) {
            let part = Recording::parse(&down[..cut], up).unwrap();
            assert!(whole.sender().take(part.sender().count()).eq(part.sender()));
        }
        let mut bent = down.clone();
        bent[8] ^= 1;
        assert!(Recording::parse(&bent, up).is_err(), "{}", scene.name);
    }
}

/// The session that the wire document shows byte for byte.
#[cfg(feature = "testing")]
#[test]
fn document_shows_a_session_as_it_travels() {
    use std::fmt::Write as _;

    use crate::testing::recording::Recording;

    let mut pair = scenes::scene("inline").pair();
    let _ = pair.run();
    let (down, up) = (&pair.down.record[..], &pair.up.record[..]);
    let recording = Recording::parse(down, up).unwrap();
    let mut shown = String::new();
    let mut show = |side: &str, what: &str, bytes: &[u8]| {
        writeln!(shown, "{side} {what}").unwrap();
        for line in bytes.chunks(24) {
            let hex: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(shown, "    {}", hex.join(" ")).unwrap();
        }
    };
    let mut sides = [("sender", down, recording.sender().collect()), ("receiver", up, Vec::new())];
    sides[1].2 = recording.receiver().collect::<Vec<_>>();
    for (side, bytes, said) in sides {
        show(side, "preface", &bytes[..8]);
        let mut rest = &bytes[8..];
        for (name, len) in said {
            let (frame, after) = rest.split_at(len);
            show(side, &format!("{name:?}"), frame);
            rest = after;
        }
    }
    let document = include_str!("../wire.md");
    assert!(document.contains(&shown), "the document should show\n{shown}");
}
