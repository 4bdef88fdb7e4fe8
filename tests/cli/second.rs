//! A second implementation of the wire, in Python, written from the wire document alone: `tests/peer`. It meets the command in
//! either role.

use std::path::Path;
use std::process::Command;

/// Fewer than this many sessions are not all of them.
const LEAST: usize = 80;

#[test]
fn second_implementation_agrees_with_the_command_in_every_session() {
    if crate::common::lacks_python() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/sessions.py");
    let output = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args([script.as_os_str(), env!("CARGO_BIN_EXE_haul").as_ref()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<_> = said.lines().filter(|line| !line.starts_with("agreed: ")).collect();
    assert!(
        output.status.success(),
        "{}\n{}",
        failed.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    let agreed = said.lines().filter(|line| line.starts_with("agreed: ")).count();
    assert!(agreed >= LEAST, "{agreed} sessions of {LEAST}");
}
