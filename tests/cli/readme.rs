//! The commands of the README, each as it stands there but for its addresses, which are free ones.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::haul::{HAUL, Haul, run, run_with, tree};

/// Returns the commands of all console blocks, without comments and without what comes before or behind
/// a pipe.
fn commands() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let mut commands = Vec::new();
    let mut is_console = false;
    for line in readme.lines() {
        match line {
            "```console" => is_console = true,
            "```" => is_console = false,
            line if is_console => {
                let line = line.strip_prefix("$ ").expect("a command begins with a prompt");
                commands.push(line.split("  #").next().expect("a line").trim().to_owned());
            }
            _ => {}
        }
    }
    commands
}

/// Splits as a shell does, as far as the README asks for it.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in command.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            character => words.last_mut().expect("a word").push(character),
        }
    }
    words
}

#[test]
fn readme_begins_with_the_main_job_and_the_tests() {
    let commands = commands();
    assert_eq!(
        commands[..2],
        [
            "cargo run --release --locked -- demo tests/data/photo.jpg",
            "cargo test --locked --all-features"
        ]
    );
    // The second one is this very run.
    let demo = words(commands[0].split_once("-- ").expect("arguments").1);
    let demo = run(demo).code(0);
    assert!(demo.stdout.contains("delivered photo.jpg (105400 bytes, blake3 "), "{demo:?}");
    assert!(demo.stdout.contains("the hashes agree"), "{demo:?}");
}

#[test]
fn readme_commands_do_what_it_says() {
    let haul = |command: &String| command.contains("haul ") && !command.starts_with("cargo");
    let commands: Vec<_> = commands().into_iter().filter(haul).collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let place = tempdir().unwrap();
        let outbox = place.path().join("outbox");
        let inbox = place.path().join("inbox");
        fs::create_dir_all(outbox.join("notes")).unwrap();
        fs::create_dir(&inbox).unwrap();
        fs::write(outbox.join("photo.jpg"), "pixels").unwrap();
        fs::write(outbox.join("notes/a.txt"), "a note").unwrap();
        let haul = command.split(" | ").find(|part| part.starts_with("haul ")).expect("haul");
        check(&words(haul)[1..], command.contains("| haul"), &outbox, &inbox);
    }
}

/// Runs one command against a peer that suits it.
fn check(words: &[String], is_fed: bool, outbox: &Path, inbox: &Path) {
    let outside = |name: &str| outbox.join(name).display().to_string();
    if words.contains(&"--connect".to_owned()) || words.contains(&"--listen".to_owned()) {
        // Who listens says where; the other one of the pair connects to it.
        let is_sender = words[0] == "send";
        let (inbox, photo) = (inbox.to_str().expect("a path"), outside("photo.jpg"));
        let mut send = words.to_vec();
        let mut receive = words.to_vec();
        if is_sender {
            receive = ["receive", inbox, "--connect", ""].map(str::to_owned).into();
            send[1] = photo;
        } else {
            send = ["send", &photo, "--listen", ""].map(str::to_owned).into();
            receive[1] = inbox.to_owned();
        }
        *send.last_mut().expect("an address") = "127.0.0.1:0".to_owned();
        let mut alice = Haul::start(&send);
        *receive.last_mut().expect("an address") = alice.address();
        run(&receive).code(0);
        alice.finish().code(0);
        return;
    }
    if words[0] == "receive" {
        let mut arguments: Vec<String> = words.to_vec();
        let last = arguments.last_mut().expect("a folder or file");
        let place = if last == "inbox" { inbox.to_owned() } else { inbox.join(&*last) };
        *last = place.display().to_string();
        let is_plain = words.contains(&"--plain".to_owned());
        arguments.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        if !is_plain {
            arguments.push("--once".to_owned());
        }
        let mut bob = Haul::start(&arguments);
        let address = bob.address();
        let mut alice = vec!["send".to_owned(), outside("photo.jpg"), address];
        if is_plain {
            alice.insert(1, "--plain".to_owned());
        }
        run(alice).code(0);
        bob.finish().code(0);
        assert_eq!(tree(inbox), [("photo.jpg".to_owned(), b"pixels".to_vec())].into());
        return;
    }
    if words[0] == "key" {
        run(words).code(0);
        return;
    }
    if words[0] == "trust" {
        let key = haul::types::PublicKey::from_bytes([7; 32]).to_string();
        run(words.iter().map(|word| if word == "KEY" { &key } else { word })).code(0);
        return;
    }
    assert_eq!(words[0], "send", "{words:?}");
    let mut arguments = words.to_vec();
    for word in &mut arguments {
        if word.starts_with("photo") || word.starts_with("notes") {
            *word = outside(word);
        }
    }
    // What makes the dump may not be installed.
    let of_command = arguments.iter().position(|word| word == "--from-command");
    if let Some(at) = of_command {
        arguments[at + 1] = "echo".to_owned();
    }
    let address = arguments.iter_mut().find(|word| word.contains([':', '@'])).expect("an address");
    let bob = if address.starts_with("exec:") {
        // The other machine is this one.
        *address = address.replace("ssh bob haul", HAUL).replace("inbox", inbox.to_str().unwrap());
        None
    } else if address.starts_with("unix:") {
        let socket = inbox.with_extension("sock");
        *address = format!("unix:{}", socket.display());
        let listen = ["--listen", address, "--once"];
        let mut bob = Haul::start(["receive", inbox.to_str().unwrap()].iter().chain(&listen));
        bob.address();
        Some(bob)
    } else {
        let (bob, real) = Haul::receive(inbox, &["--once"]);
        *address = real;
        Some(bob)
    };
    // What feeds a list gives names.
    let is_list = words.iter().any(|word| word == "--files-from");
    let fed = if is_list { outside("photo.jpg") } else { "a dump".to_owned() };
    let alice = if is_fed { run_with(&arguments, fed.into_bytes()) } else { run(&arguments) };
    alice.code(0);
    if let Some(bob) = bob {
        bob.finish().code(0);
    }
    assert!(!tree(inbox).is_empty(), "{words:?}");
}
