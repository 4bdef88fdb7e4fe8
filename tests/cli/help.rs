//! Help, completions, the manual page, the demo, and standard output that goes away.

use std::fs::OpenOptions;
use std::process::Stdio;

use tempfile::tempdir;

use crate::common::{photo_path, quiet};
use crate::haul::{HAUL, Haul, names, run};

#[test]
fn help_is_on_standard_output_and_a_success() {
    for arguments in [&["--help"][..], &["send", "--help"], &["receive", "-h"], &["--version"]] {
        let help = run(arguments).code(0);
        assert!(!help.stdout.is_empty() && help.stderr.is_empty(), "{help:?}");
    }
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    for arguments in [
        &["send"][..],
        &["send", "a"],
        &["send", "a", "b"],
        &["send", "a", "-", "-", "b:1"],
        &["send", "a", "b", "c:1", "--name", "x"],
        &["send", "a", "c:1", "--name", "../x"],
        &["send", "a", "b:1", "--block-size", "5K"],
        &["send", "a", "b:1", "--retry-for", "soon"],
        &["send", "a", "b:1", "--chunk-size", "1K"],
        &["send", "--plain", "a", "b", "c:1"],
        &["send", "--plain", "--name", "x", "a", "c:1"],
        &["send", "--plain", "--trust-times", "a", "c:1"],
        &["send", "--links", "all", "a", "c:1"],
        &["receive", "--listen", "nowhere"],
        &["receive", "--listen", "exec:cat"],
        &["receive", "--stdio", "--listen", "a:1"],
        &["receive", "--existing", "delete"],
        &["receive", "--plain", "x", "--existing", "skip"],
        &["receive", "a", "b"],
        &["fetch"],
    ] {
        let wrong = run(arguments).code(2).one_error(&[]);
        assert_eq!(wrong.stdout, "", "{arguments:?}");
    }
}

#[test]
fn completions_and_man_are_printed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]).code(0);
        assert!(script.stdout.contains("--retry-for") || script.stdout.contains("retry-for"));
    }
    for (command, option) in [("send", "limit"), ("receive", "durability"), ("demo", "json")] {
        let page = run(["man", command]).code(0);
        let title = format!(".TH haul-{command} 1");
        assert!(page.stdout.contains(&title) && page.stdout.contains(option), "{page:?}");
        assert!(!page.stdout.contains("HAUL COMPLETIONS"), "{page:?}");
    }
    run(["man", "fetch"]).code(2).one_error(&["fetch"]);
    let page = run(["man"]).code(0);
    for words in [
        ".TH haul 1",
        ".SH \"HAUL SEND\"",
        ".SH \"HAUL RECEIVE\"",
        "retry",
        "EXIT STATUS",
        "EXAMPLES",
    ] {
        assert!(page.stdout.contains(words), "{words}");
    }
}

#[test]
fn demo_sends_a_picture_or_a_file_and_shows_that_hashes_agree() {
    for file in [None, Some(photo_path())] {
        let temp = tempdir().unwrap();
        let mut demo = quiet(HAUL);
        demo.arg("demo").args(&file).env("TMPDIR", temp.path());
        let demo = Haul::spawn(demo).finish().code(0);
        assert_eq!(demo.stderr, "");
        for words in ["listens on 127.0.0.1:", "delivered", "the hashes agree", "the folder stays"]
        {
            assert!(demo.stdout.contains(words), "{demo:?}");
        }
        let kept = names(temp.path());
        let name = if file.is_some() { "received/photo.jpg" } else { "received/picture.png" };
        assert!(kept.iter().any(|kept| kept.ends_with(name)), "{kept:?}");
    }
}

#[test]
fn demo_without_its_file_is_a_local_failure() {
    let temp = tempdir().unwrap();
    for file in ["/no/such/file", "/dev/null", "/"] {
        let mut demo = quiet(HAUL);
        demo.args(["demo", file]).env("TMPDIR", temp.path());
        Haul::spawn(demo).finish().code(1).one_error(&[file]);
        assert_eq!(names(temp.path()), [""; 0], "nothing is left behind");
    }
}

#[test]
fn closed_standard_output_is_no_reason_to_fail_or_to_panic() {
    let inbox = tempdir().unwrap();
    let address = crate::haul::exec(inbox.path(), "");
    for arguments in [
        &["man"][..],
        &["completions", "bash"],
        &["--help"],
        &["send", photo_path().to_str().unwrap(), &address],
        &["send", "--json", photo_path().to_str().unwrap(), &address],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = quiet(HAUL);
        let child = command.args(arguments).stdout(Stdio::from(writer)).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
        assert_eq!(output.stderr, b"");
    }
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[cfg(target_os = "linux")]
#[test]
fn full_standard_output_is_told_and_is_not_a_success() {
    let inbox = tempdir().unwrap();
    let address = crate::haul::exec(inbox.path(), "");
    for arguments in [&["man"][..], &["send", photo_path().to_str().unwrap(), &address]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = quiet(HAUL).args(arguments).stdout(Stdio::from(full)).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, "haul: cannot write to standard output: No space left on device\n");
    }
    assert_eq!(names(inbox.path()), ["photo.jpg"], "the transfer went on");
}
