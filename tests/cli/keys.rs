//! Identity: keys, tickets, and peers that are not admitted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use crate::common::{photo, photo_path, quiet};
use crate::haul::{Finished, HAUL, Haul, tree};

/// Somebody with a key.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start<const N: usize>(&self, arguments: [&str; N]) -> Haul {
        self.start_with(&arguments)
    }

    fn start_with(&self, arguments: &[&str]) -> Haul {
        let mut command = quiet(HAUL);
        command.env("HAUL_CONFIG_DIR", self.0.path().join("haul")).args(arguments);
        Haul::spawn(command)
    }

    #[track_caller]
    fn run<const N: usize>(&self, arguments: [&str; N]) -> Finished {
        self.start(arguments).finish()
    }

    fn key(&self) -> String {
        self.run(["key"]).code(0).stdout.trim_end().to_owned()
    }

    fn send(&self, to: &str) -> Finished {
        self.run(["send", photo_path().to_str().unwrap(), to])
    }

    /// Receives on loopback; where, and the ticket.
    fn receive(&self, inbox: &Path) -> (Haul, String, String) {
        let mut haul = self.start(["receive", inbox.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        let address = haul.address();
        let line = haul.line(|line| line.contains("haul://"));
        (haul, address, line.split_whitespace().last().unwrap().to_owned())
    }
}

/// Asserts that the photo is there, and nothing else.
#[track_caller]
fn assert_photo(inbox: &Path) {
    let names: Vec<_> = fs::read_dir(inbox).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names, [inbox.join("photo.jpg")]);
    assert!(fs::read(&names[0]).unwrap() == photo());
}

fn is_empty(inbox: &Path) -> bool {
    fs::read_dir(inbox).unwrap().next().is_none()
}

#[test]
fn same_user_on_one_machine_has_nothing_to_paste_and_another_one_is_refused() {
    let (user, other, inbox) = (User::new(), User::new(), tempfile::tempdir().unwrap());
    let (bob, address, _) = user.receive(inbox.path());
    let refused = other.send(&address).code(4);
    let hint = format!("haul trust {}", user.key());
    let refused = refused.one_error(&["not whom this user expects", &hint]);
    assert!(is_empty(inbox.path()), "{refused:?}");
    let sent = user.send(&address).code(0);
    assert!(sent.stdout.contains("the receiver is this user"), "{sent:?}");
    assert_photo(inbox.path());
    bob.interrupt();
    let bob = bob.finish();
    assert!(bob.stderr.contains("If it does not know this user: "), "{bob:?}");
    assert!(bob.stderr.contains(&hint), "{bob:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn receiver_that_no_other_machine_can_reach_says_why_there_is_no_line() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    let mut command = quiet("unshare");
    command.env("HAUL_CONFIG_DIR", user.0.path().join("haul"));
    command.args(["--net", HAUL, "receive", "-p", "0", "--idle-exit", "1ms"]).arg(inbox.path());
    let said = Haul::spawn(command).finish();
    if said.stderr.contains("unshare") {
        return println!("skipped: a network of its own needs the administrator ({said:?})");
    }
    let said = said.code(0);
    assert!(said.stdout.contains("no network interface is up but loopback"), "{said:?}");
    assert!(!said.stdout.contains("haul://"), "{said:?}");
}

#[test]
fn ticket_is_for_one_sender_and_a_thief_is_told_what_to_do_as_is_the_receiver() {
    let (bob, alice, thief) = (User::new(), User::new(), User::new());
    let inbox = tempfile::tempdir().unwrap();
    let (receiver, _, ticket) = bob.receive(inbox.path());
    alice.send(&ticket).code(0);
    let stolen = thief.send(&ticket).code(4);
    let hint = format!("haul trust {}", thief.key());
    stolen.one_error(&["does not admit this user", &hint]);
    // Its owner comes again, with the ticket in a file, or in the environment.
    let file = alice.0.path().join("ticket");
    fs::write(&file, format!("{ticket}\n")).unwrap();
    let photo = photo_path();
    let photo = photo.to_str().unwrap();
    alice.run(["send", photo, "--ticket", file.to_str().unwrap()]).code(0);
    let mut command = quiet(HAUL);
    command.env("HAUL_CONFIG_DIR", alice.0.path().join("haul")).env("HAUL_TICKET", &ticket);
    command.args(["send", photo, "--ticket", "env:HAUL_TICKET"]);
    Haul::spawn(command).finish().code(0);
    receiver.interrupt();
    let said = receiver.finish();
    assert!(said.stderr.contains("not admitted") && said.stderr.contains(&hint), "{said:?}");
    assert_photo(inbox.path());
}

#[test]
fn trusted_key_is_admitted_by_a_receiver_that_runs_and_found_by_its_name() {
    let (bob, alice, inbox) = (User::new(), User::new(), tempfile::tempdir().unwrap());
    let (receiver, address, _) = bob.receive(inbox.path());
    alice.run(["trust", &bob.key(), "nas", &address]).code(0);
    alice.send("@nas").code(4).one_error(&["does not admit", &alice.key()]);
    bob.run(["trust", &alice.key(), "alice"]).code(0);
    let sent = alice.send("@nas").code(0);
    assert!(sent.stdout.contains("the receiver is nas ("), "{sent:?}");
    // A bare address will do as well, where the key there is trusted.
    alice.send(&address).code(0);
    bob.run(["trust", "--remove", "alice"]).code(0);
    alice.send("@nas").code(4);
    alice.send("@other").code(2).one_error(&["other"]);
    receiver.interrupt();
    let said = receiver.finish();
    assert!(said.stdout.contains(" is alice ("), "{said:?}");
    assert_photo(inbox.path());
}

#[test]
fn side_in_clear_and_side_with_keys_each_say_what_is_wrong_in_one_line() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    let photo = photo_path();
    let (photo, into) = (photo.to_str().unwrap(), inbox.path().to_str().unwrap());
    let (receiver, address, _) = user.receive(inbox.path());
    let sent = user.run(["send", "--insecure", photo, &address]).code(3);
    sent.one_error(&["takes encrypted connections alone"]);
    receiver.interrupt();
    let said = receiver.finish();
    assert!(said.stderr.contains("the sender speaks in clear"), "{said:?}");
    let mut receiver = user.start(["receive", into, "--listen", "127.0.0.1:0", "--insecure"]);
    let address = receiver.address();
    user.send(&address).code(3).one_error(&["--insecure"]);
    receiver.interrupt();
    let said = receiver.finish();
    assert!(said.stderr.contains("wants an encrypted connection"), "{said:?}");
    let sent = user.run(["send", "haul://x:1/y", "haul://x:1/y/secret"]).code(2);
    assert!(!format!("{sent:?}").contains("secret"), "{sent:?}");
    assert!(is_empty(inbox.path()));
}

#[test]
fn sender_that_listens_has_its_files_fetched_by_the_line_that_it_prints() {
    let (alice, bob, other) = (User::new(), User::new(), User::new());
    let inbox = tempfile::tempdir().unwrap();
    let (photo, into) = (photo_path(), inbox.path().to_str().unwrap());
    let mut sender = alice.start(["send", photo.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address = sender.address();
    let line = sender.line(|line| line.contains("haul receive DIR --connect haul://"));
    let ticket = line.split_whitespace().last().unwrap();
    other.run(["receive", into, "--connect", &address]).code(4);
    assert!(is_empty(inbox.path()));
    bob.run(["receive", into, "--connect", ticket]).code(0);
    sender.finish().code(0);
    assert_photo(inbox.path());
}

#[test]
fn key_is_one_for_processes_that_begin_at_once_and_is_not_used_if_others_may_read_it() {
    let user = User::new();
    let keys: Vec<_> = [(); 6].map(|()| user.start(["key"])).map(Haul::finish).into();
    assert!(keys.iter().all(|key| key.code == Some(0) && key.stdout == keys[0].stdout), "{keys:?}");
    let path = user.0.path().join("haul/key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let hint = format!("chmod 600 {}", path.display());
    user.run(["key"]).code(1).one_error(&["0644", &hint]);
    let inbox = tempfile::tempdir().unwrap();
    let receive = ["receive", inbox.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    user.run(receive).code(1).one_error(&[&hint]);
    // What goes no network needs no key.
    let (photo, to) = (photo_path(), format!("exec:{HAUL} receive --stdio {}", receive[1]));
    user.run(["send", photo.to_str().unwrap(), &to]).code(0);
    assert_photo(inbox.path());
}

#[test]
fn trust_lists_adds_and_removes_and_says_what_is_wrong() {
    let (user, other) = (User::new(), User::new());
    let key = other.key();
    assert_eq!(user.run(["trust", "--list"]).code(0).stdout, "");
    user.run(["trust", &key, "nas", "10.0.0.5:7117"]).code(0);
    let line = format!("{key} nas 10.0.0.5:7117\n");
    assert_eq!(user.run(["trust", "--list"]).code(0).stdout, line);
    user.run(["trust", &key[1..]]).code(2).one_error(&["56 characters"]);
    user.run(["trust", &user.key()]).code(2).one_error(&["always trusted"]);
    user.run(["trust", &user.key().replace(['a', 'b'], "c"), "nas"]).code(2);
    user.run(["trust"]).code(2).one_error(&["KEY"]);
    user.run(["trust", &key, &User::new().key()]).code(2).one_error(&["one key at a time"]);
    let trusted = user.0.path().join("haul/trusted");
    fs::set_permissions(&trusted, fs::Permissions::from_mode(0o666)).unwrap();
    user.run(["trust", "--list"]).code(1).one_error(&["chmod 600"]);
    fs::set_permissions(&trusted, fs::Permissions::from_mode(0o600)).unwrap();
    user.run(["trust", "--remove", &key]).code(0);
    user.run(["trust", "--remove", &key]).code(1).one_error(&["not trusted"]);
    assert_eq!(user.run(["trust", "--list"]).code(0).stdout, "");
}

#[test]
fn secret_key_in_a_folder_that_is_sent_stays_where_it_is() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    user.key();
    let home = user.0.path().to_owned();
    fs::write(home.join("haul/notes"), "these go").unwrap();
    fs::create_dir(home.join("other")).unwrap();
    fs::write(home.join("other/key"), "another one").unwrap();
    let bob = format!(
        "exec:{} receive --stdio -q --allow-hidden {}",
        crate::haul::HAUL,
        inbox.path().display()
    );
    fs::hard_link(home.join("haul/key"), home.join("other/copy")).unwrap();
    symlink(home.join("haul/key"), home.join("link")).unwrap();
    fs::write(home.join("haul/key.old"), "another secret").unwrap();
    let of_home = |name: &str| home.join(name).to_str().unwrap().to_owned();
    for more in [&[][..], &["--exclude", "*.tmp"], &["--links", "follow"]] {
        let sent = user.start_with(&[&["send", "-v", home.to_str().unwrap(), &bob], more].concat());
        let sent = sent.finish().code(0);
        let name = home.file_name().unwrap().to_str().unwrap();
        for secret in ["haul/key", "haul/key.old", "other/copy"] {
            let text = format!("{name}/{secret} is skipped: a secret of the sender's user");
            assert!(sent.stdout.contains(&text), "{more:?} {sent:?}");
        }
    }
    let there = inbox.path().join(home.file_name().unwrap());
    assert!(there.join("haul/notes").exists() && there.join("other/key").exists());
    for secret in ["haul/key", "haul/key.old", "other/copy", "link"] {
        assert!(!there.join(secret).exists(), "{secret}");
    }
    // From a list, of which the rest is sent.
    let list = of_home("list");
    fs::write(&list, format!("{}\n{}\n", of_home("other/copy"), of_home("haul/notes"))).unwrap();
    let sent = user.run(["send", "-v", "--files-from", &list, &bob]).code(0);
    assert!(sent.stderr.contains("other/copy is skipped: a secret"), "{sent:?}");
    // Nobody means to send it by name.
    for path in ["haul/key", "other/copy", "link", "haul/key.old"].map(of_home) {
        for more in [&[&bob[..]][..], &["--plain", "127.0.0.1:1"], &["--name", "x", &bob]] {
            let stop = user.start_with(&[&["send", &path], more].concat()).finish().code(2);
            stop.one_error(&["holds a secret key or ticket, which is never sent"]);
        }
    }
    assert!(
        tree(inbox.path()).values().all(|bytes| bytes != &fs::read(home.join("haul/key")).unwrap())
    );
}

#[test]
fn secret_key_that_a_command_makes_itself_is_not_sent_by_it() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    let mut command = quiet(HAUL);
    command.env("HAUL_CONFIG_DIR", inbox.path().join("config"));
    command.args(["receive", inbox.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--once"]);
    command.args(["--insecure", "--allow-hidden"]);
    let mut receiver = Haul::spawn(command);
    let address = receiver.address();
    let sent = user.run(["send", "--insecure", user.0.path().to_str().unwrap(), &address]).code(0);
    assert!(user.0.path().join("haul/key").exists(), "it is made to derive the id of the transfer");
    receiver.finish().code(0);
    let there = inbox.path().join(user.0.path().file_name().unwrap());
    assert!(there.join("haul").is_dir() && !there.join("haul/key").exists(), "{sent:?}");
}

#[test]
fn key_and_trusted_keys_of_a_receiver_are_out_of_reach_of_its_own_user_too() {
    let (bob, outbox) = (User::new(), tempfile::tempdir().unwrap());
    let config = bob.0.path().join("haul");
    bob.run(["trust", &User::new().key(), "eve"]).code(0);
    let kept = |name: &str| fs::read(config.join(name)).unwrap();
    let before = ["key", "trusted"].map(kept);
    let forged = outbox.path().join("haul");
    fs::create_dir(&forged).unwrap();
    for name in ["key", "trusted", "config.toml"] {
        fs::write(forged.join(name), "forged").unwrap();
    }
    let other = outbox.path().join("other");
    fs::write(&other, "taken").unwrap();
    let home = bob.0.path().to_str().unwrap();
    for more in [&["--existing", "replace"][..], &["--existing", "rename"], &["--existing", "skip"]]
    {
        let receive = ["receive", home, "--allow-hidden", "--allow-links", "--once"];
        let receive = [&receive[..], &["--listen", "127.0.0.1:0"], more].concat();
        let mut receiver = bob.start_with(&receive);
        let address = receiver.address();
        let [haul, other] = [&forged, &other].map(|it| it.to_str().unwrap());
        let sent = bob.run(["send", haul, other, &address]).code(4);
        for name in ["haul/key", "haul/trusted", "haul/config.toml", "haul"] {
            let text = format!("{name} is refused: the receiver takes nothing into this folder");
            assert!(sent.stderr.contains(&text), "{more:?}: {sent:?}");
        }
        receiver.finish().code(4);
        assert_eq!(["key", "trusted"].map(kept), before, "{more:?}");
        assert!(!config.join("config.toml").exists(), "{more:?}");
        assert_eq!(fs::read(bob.0.path().join("other")).unwrap(), b"taken");
    }
    fs::create_dir(config.join("below")).unwrap();
    for inside in [config.clone(), config.join("below")] {
        let stop = bob.run(["receive", inside.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        stop.code(2).one_error(&["nothing may be stored in", "take a folder outside of it"]);
    }
}

#[test]
fn ticket_is_read_no_further_than_one_can_be_long() {
    let user = User::new();
    let photo = photo_path();
    let sent = user.run(["send", photo.to_str().unwrap(), "--ticket", "/dev/zero"]);
    sent.code(2).one_error(&["/dev/zero"]);
}

#[test]
fn trusted_keys_that_another_user_keeps_let_nobody_in() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: nobody else can give a file away");
        return;
    }
    let (bob, other, inbox) = (User::new(), User::new(), tempfile::tempdir().unwrap());
    bob.run(["trust", &other.key(), "other"]).code(0);
    let trusted = bob.0.path().join("haul/trusted");
    std::os::unix::fs::chown(&trusted, Some(65_534), None).unwrap();
    bob.run(["trust", "--list"]).code(1).one_error(&["another user (65534)"]);
    other.run(["trust", &bob.key(), "bob"]).code(0);
    let (receiver, address, _) = bob.receive(inbox.path());
    other.send(&address).code(4).one_error(&["does not admit"]);
    receiver.interrupt();
    receiver.finish();
    assert!(is_empty(inbox.path()));
}

/// Both of them are this machine, under names of their own.
#[test]
fn machines_with_one_key_send_the_same_path_at_once() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    let unshare = |name: &str| {
        let mut command = quiet("unshare");
        command.args(["--uts", "sh", "-c", r#"hostname "$0" && exec "$@""#, name]);
        command
    };
    if !unshare("elsewhere").arg("true").output().is_ok_and(|out| out.status.success()) {
        eprintln!("left out: machines cannot be given names of their own here");
        return;
    }
    let (receiver, address, _) = user.receive(inbox.path());
    let (path, haul) = (user.0.path().join("log"), HAUL);
    fs::write(&path, vec![7; 1 << 20]).unwrap();
    let send = |name| {
        let mut command = unshare(name);
        command.env("HAUL_CONFIG_DIR", user.0.path().join("haul")).args([haul, "send"]);
        command.arg(&path).args([&address, "--json", "--limit-rate", "300K"]);
        Haul::spawn(command)
    };
    let mut first = send("first");
    first.line(|line| line.contains("\"offered\""));
    send("second").finish().code(0);
    first.finish().code(0);
    drop(receiver);
}

#[test]
fn trusted_keys_in_a_fifo_are_an_error_and_nobody_waits_for_its_other_end() {
    let (user, inbox) = (User::new(), tempfile::tempdir().unwrap());
    user.key();
    let fifo = user.0.path().join("haul/trusted");
    assert!(quiet("mkfifo").args(["-m", "600"]).arg(fifo).status().unwrap().success());
    user.run(["trust", "--list"]).code(1).one_error(&["it is not a file"]);
    let (receiver, address, _) = user.receive(inbox.path());
    User::new().send(&address).code(4);
    receiver.interrupt();
    receiver.finish();
}

#[test]
fn secrets_of_a_run_stand_in_no_output_and_no_file_but_their_own() {
    let (bob, alice, thief) = (User::new(), User::new(), User::new());
    let inbox = tempfile::tempdir().unwrap();
    let (photo, into) = (photo_path(), inbox.path().to_str().unwrap());
    let photo = photo.to_str().unwrap();
    let mut receiver = bob.start(["receive", into, "--listen", "127.0.0.1:0", "--json"]);
    let event = receiver.line(|line| line.contains("\"ticket\""));
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    let ticket = event["ticket"].as_str().unwrap().to_owned();
    let mut said = Vec::new();
    for (user, to) in
        [(&alice, &ticket), (&thief, &ticket), (&thief, &ticket[..ticket.len() - 1].to_owned())]
    {
        said.push(user.run(["send", photo, to]));
        said.push(user.run(["send", "--json", photo, to]));
        said.push(user.run(["send", photo, to, "--listen", "127.0.0.1:0"]));
        said.push(user.run(["send", to, photo]));
    }
    receiver.interrupt();
    said.push(receiver.finish());
    let secret = ticket.rsplit('/').next().unwrap();
    let keys = [&bob, &alice, &thief].map(|user| {
        let key = user.0.path().join("haul/key");
        fs::read_to_string(key).unwrap().trim_end().to_owned()
    });
    for secret in keys.iter().map(String::as_str).chain([secret, &secret[..20]]) {
        for said in &said {
            let shown = format!("{}{}", said.stdout, said.stderr);
            // The event by which the ticket is given is the one place.
            let shown = shown.replace(&ticket, "");
            assert!(!shown.contains(secret), "{shown}");
        }
        for folder in [inbox.path(), &bob.0.path().join("haul"), &alice.0.path().join("haul")] {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let text = fs::read(&entry).unwrap();
                let is_there = text.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!is_there || entry.ends_with("haul/key"), "{}", entry.display());
            }
        }
    }
}

#[test]
fn hidden_names_of_somebody_with_a_ticket_are_refused() {
    let (bob, alice, inbox) = (User::new(), User::new(), tempfile::tempdir().unwrap());
    let (receiver, _, ticket) = bob.receive(inbox.path());
    let profile = alice.0.path().join(".profile");
    fs::write(&profile, "umask 077").unwrap();
    let refused = alice.run(["send", profile.to_str().unwrap(), &ticket]).code(4);
    assert!(refused.stderr.contains("the name begins with a dot"), "{refused:?}");
    assert!(is_empty(inbox.path()));
    drop(receiver);
}
