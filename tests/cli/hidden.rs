//! Names that begin with a dot.

use std::fs;

use tempfile::tempdir;

use crate::haul::{Haul, exec, names, run};

#[test]
fn receive_refuses_hidden_names_unless_they_are_allowed() {
    let (outbox, home) = (tempdir().unwrap(), tempdir().unwrap());
    let ssh = outbox.path().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::write(ssh.join("authorized_keys"), "a key").unwrap();
    let notes = outbox.path().join("notes");
    fs::create_dir(&notes).unwrap();
    fs::write(notes.join(".gitignore"), "*.o").unwrap();
    let sent: Vec<_> = [&ssh, &notes].map(|path| path.to_str().unwrap().to_owned()).into();

    let (bob, address) = Haul::receive_in_clear(home.path(), &["--once"]);
    let in_clear = ["send".into(), "--insecure".into()];
    let refused = run([&in_clear[..], &sent[..], &[address]].concat()).code(4);
    let reason =
        "is refused: the name begins with a dot; the receiver allows those with --allow-hidden";
    for name in [".ssh/authorized_keys", ".ssh"] {
        assert!(refused.stderr.contains(&format!("{name} {reason}")), "{refused:?}");
    }
    let bob = bob.finish().code(4);
    assert!(bob.stderr.contains(".ssh is refused") && bob.stderr.contains("see --allow-hidden"));
    assert_eq!(names(home.path()), ["notes/", "notes/.gitignore"]);

    let address = exec(home.path(), "--allow-hidden");
    run([&["send".into()], &sent[..], &[address]].concat()).code(0);
    assert_eq!(names(home.path()), [".ssh/", ".ssh/authorized_keys", "notes/", "notes/.gitignore"]);
}

#[test]
fn receive_takes_hidden_names_from_this_user() {
    let (outbox, home) = (tempdir().unwrap(), tempdir().unwrap());
    let profile = outbox.path().join(".profile");
    fs::write(&profile, "umask 077").unwrap();
    let (bob, address) = Haul::receive(home.path(), &["--once"]);
    run(["send", profile.to_str().unwrap(), &address]).code(0);
    bob.finish().code(0);
    assert_eq!(names(home.path()), [".profile"]);
}
