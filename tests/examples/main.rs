//! Every example is run, and does what it is there to show.
#![expect(clippy::disallowed_methods, reason = "examples are programs")]
#![expect(clippy::expect_used, reason = "a test that cannot run an example should say so")]

use std::process::Command;

/// Returns the output of an example. It is run with the features that this test has, so that nothing is
/// built twice.
fn run(name: &str) -> String {
    let output = cargo(name).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("examples print text")
}

/// Returns the command that runs it.
fn cargo(name: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--no-default-features", "--features", &features()]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.args(["--example", name]);
    cargo
}

fn features() -> String {
    let features = [
        ("cli", cfg!(feature = "cli")),
        ("fs", cfg!(feature = "fs")),
        ("tcp", cfg!(feature = "tcp")),
        ("testing", cfg!(feature = "testing")),
    ];
    features.into_iter().filter_map(|(name, on)| on.then_some(name)).collect::<Vec<_>>().join(",")
}

#[test]
fn by_hand_delivers_one_file() {
    let output = run("by_hand");
    let hash = blake3::hash(b"what Alice has and Bob will have");
    assert_eq!(output, format!("note.txt is held, BLAKE3 {hash}\ndelivered 1 entry\n"));
}

#[test]
fn custom_transport_delivers_over_lines_of_text() {
    assert_eq!(run("custom_transport"), "called by radio\ndelivered 1 file of 9 bytes\n");
}

#[test]
fn custom_store_keeps_equal_content_once() {
    assert_eq!(run("custom_store"), "3 names, 2 objects\n");
}

#[test]
fn progress_grows_to_the_end_and_never_goes_back() {
    let output = run("progress");
    let percents: Vec<u32> = output
        .lines()
        .filter_map(|line| line.strip_suffix(" %")?.rsplit(' ').next()?.parse().ok())
        .collect();
    assert!(percents.len() > 2, "{output}");
    assert!(percents.is_sorted() && percents.last() == Some(&100), "{output}");
    assert!(output.ends_with("4 delivered, 0 refused\n"), "{output}");
}

#[cfg(all(feature = "tcp", feature = "fs"))]
#[test]
fn tcp_delivers_its_file_with_the_hash_that_b3sum_prints() {
    let output = run("tcp");
    let hash = blake3::hash(&std::fs::read("examples/tcp.rs").expect("it is this package's"));
    assert!(output.contains(&format!("{hash}  tcp.rs (synced)\n")), "{output}");
}

#[cfg(all(target_os = "linux", feature = "fs"))]
mod serial;
