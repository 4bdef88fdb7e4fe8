//! Options that stand in the file `config.toml`, or in the environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::common::quiet;
use crate::haul::{Finished, HAUL, Haul, exec, names};

/// Returns a folder with this file.
fn settings(text: &str) -> TempDir {
    let folder = tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.path().join("config.toml"), text).unwrap();
    folder
}

fn start(config: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Haul {
    let mut command = quiet(HAUL);
    command.args(arguments).env("HAUL_CONFIG_DIR", config).envs(environment.iter().copied());
    Haul::spawn(command)
}

fn run(config: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    start(config, arguments, environment).finish()
}

#[test]
fn settings_hold_for_their_command_until_the_command_line_says_otherwise() {
    let config = settings(
        "quiet = true\n\n[send]\nname = \"set\"\n\n[receive]\nlisten = \"127.0.0.1:0\"\ninsecure = true\n\
         json = true\nonce = true\nexisting = \"rename\"\n",
    );
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("file");
    fs::write(&file, "x").unwrap();
    fs::write(inbox.path().join("set"), "another").unwrap();
    let (file, folder) = (file.to_str().unwrap(), inbox.path().to_str().unwrap());
    let mut bob = start(config.path(), &["receive", folder], &[]);
    let address = bob.address();
    run(config.path(), &["send", "--insecure", file, &address], &[]).code(0);
    let bob = bob.finish().code(0);
    assert!(bob.events().iter().any(|event| event["event"] == "received"), "{bob:?}");
    assert_eq!(names(inbox.path()), ["set", "set (1)"]);
    // The environment before the file, and the command line before both.
    let far = exec(inbox.path(), "--no-config -q");
    let set = [("HAUL_SEND_NAME", "env"), ("HAUL_SEND_QUIET", "0")];
    let sent = run(config.path(), &["send", file, &far], &set).code(0);
    assert!(sent.stdout.contains("delivered env "), "{sent:?}");
    let sent = run(config.path(), &["send", file, &far, "--name", "line"], &set).code(0);
    assert!(sent.stdout.contains("delivered line "), "{sent:?}");
    let sent = run(config.path(), &["send", "--no-config", file, &far], &[]).code(0);
    assert!(sent.stdout.contains("delivered file "), "{sent:?}");
    let sent = run(config.path(), &["--no-config", "send", file, &far], &[]).code(0);
    assert!(sent.stdout.contains("delivered file "), "{sent:?}");
}

#[test]
fn settings_stand_below_the_folder_of_the_user_where_no_other_is_named() {
    let home = tempdir().unwrap();
    let folder = home.path().join("haul");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("config.toml"), "max-byte = 1").unwrap();
    for (variable, value) in
        [("XDG_CONFIG_HOME", home.path().to_owned()), ("HOME", home.path().join("me"))]
    {
        if variable == "HOME" {
            fs::create_dir_all(value.join(".config")).unwrap();
            fs::rename(&folder, value.join(".config/haul")).unwrap();
        }
        let mut command = quiet(HAUL);
        command.args(["receive"]).env_remove("HAUL_CONFIG_DIR").env_remove("XDG_CONFIG_HOME");
        command.env(variable, value);
        let wrong = Haul::spawn(command).finish().code(2);
        wrong.one_error(&["haul/config.toml: there is no key 'max-byte'; there is max-bytes"]);
    }
}

#[test]
fn setting_that_is_wrong_is_told_with_its_place() {
    let send = ["send", "file", "host:1"];
    for (text, arguments, code, said) in [
        (
            "retry-for = 3",
            &send[..],
            2,
            "config.toml: invalid value '3' for '--retry-for <TIME>': a time has a unit",
        ),
        (
            "[receive]\nport = 1\nlisten = \":1\"",
            &["receive"],
            2,
            "config.toml: the argument '--listen <ADDR>' cannot be used with '--port <PORT>'",
        ),
        (
            "[receive]\nthen-per = \"file\"",
            &["receive"],
            2,
            "config.toml: the following required arguments were not provided: --then",
        ),
        (
            "[receive]\nexistin = \"skip\"",
            &send,
            2,
            "config.toml: there is no key 'existin' in [receive]; there is existing",
        ),
        ("[receive", &send, 2, "config.toml: line 1: "),
        ("max-bytes = \"10G\"", &["send", "--nope"], 2, "haul: there is no --nope here"),
    ] {
        let config = settings(text);
        run(config.path(), arguments, &[]).code(code).one_error(&[said]);
        run(config.path(), &["key"], &[]).code(0);
    }
    let config = settings("");
    let set = [("HAUL_SEND_RETRY_FOR", "soon")];
    let wrong = run(config.path(), &send, &set).code(2);
    wrong.one_error(&["haul: the variable HAUL_SEND_RETRY_FOR: invalid value 'soon'"]);
    run(config.path(), &send, &[("HAUL_SEND_NO", "1")]).code(2).one_error(&["sets no option"]);
    let file = config.path().join("config.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    run(config.path(), &send, &[]).code(1).one_error(&["config.toml", "chmod 600"]);
    fs::remove_file(&file).unwrap();
    assert!(quiet("mkfifo").arg(&file).status().unwrap().success());
    run(config.path(), &send, &[]).code(1).one_error(&["config.toml: it is not a file"]);
}
