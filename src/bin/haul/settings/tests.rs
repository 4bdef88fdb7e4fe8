use clap::{CommandFactory, Parser};

use super::*;
use crate::args::Haul;

/// Returns the built command, as [`line`] has it.
fn built() -> Command {
    let mut haul = Haul::command();
    haul.build();
    haul
}

/// Returns the options that a call has in the end, with settings of these layers.
fn merged(call: &str, layers: Vec<Vec<Setting>>) -> String {
    let haul = built();
    let given: Vec<OsString> = call.split(' ').map(OsString::from).collect();
    let name = given[1].to_str().unwrap();
    let command = haul.find_subcommand(name).unwrap();
    let tolerant = Haul::command().ignore_errors(true).try_get_matches_from(&given).unwrap();
    let said = explicit(command, tolerant.subcommand().unwrap().1);
    let taken = taken(command, said, layers);
    let words = taken.iter().flat_map(|setting| setting.words(command));
    words.map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
}

fn os(words: &[String]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn of_file(name: &str, text: &str) -> Result<Vec<Vec<Setting>>, String> {
    read(&built(), name, text, Path::new("file"))
}

fn of_environment(name: &str, variables: &[(&str, &str)]) -> Result<Vec<Setting>, String> {
    let haul = built();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    environment(haul.find_subcommand(name).unwrap(), variables).map_err(|stop| stop.message)
}

/// Returns a value that an option takes, as the file has it, and the words that it comes to.
fn sample(arg: &Arg) -> (String, Vec<String>) {
    let long = arg.get_long().unwrap();
    let possible = arg.get_possible_values();
    let value = match long {
        _ if matches!(arg.get_action(), ArgAction::SetTrue) => {
            return ("true".into(), vec![format!("--{long}")]);
        }
        "then" | "from-command" => {
            return (
                "[\"cp\", \"-v\", \"{}\"]".into(),
                [&format!("--{long}"), "cp", "-v", "{}", ";"].map(str::to_owned).into(),
            );
        }
        _ if !possible.is_empty() => possible[0].get_name().to_owned(),
        "listen" | "connect" => "host:7117".to_owned(),
        "limit-rate" | "max-bytes" | "max-file-bytes" | "keep-free" | "block-size" => "64K".into(),
        "port" | "max-sessions" | "max-entries" | "max-depth" | "chunk-size" => "7".to_owned(),
        _ if arg.get_value_parser().type_id() == std::any::TypeId::of::<std::time::Duration>() => {
            "7m".to_owned()
        }
        "stop-after" => "7m".to_owned(),
        _ => "some".to_owned(),
    };
    (format!("\"{value}\""), vec![format!("--{long}={value}")])
}

#[test]
fn setting_of_every_option_is_what_the_command_line_would_be() {
    let haul = built();
    let mut count = 0;
    for name in SECTIONS {
        let command = haul.find_subcommand(name).unwrap();
        for arg in options(command) {
            let long = arg.get_long().unwrap();
            let (value, words) = sample(arg);
            let text = format!("[{name}]\n{long} = {value}\n");
            let [section, top] = of_file(name, &text).unwrap().try_into().unwrap();
            assert_eq!((section.len(), top.len()), (1, 0), "{text}");
            assert_eq!(section[0].words(command), os(&words), "{text}");
            let at_top = of_file(name, &format!("{long} = {value}")).unwrap();
            assert_eq!(at_top[1], section, "{text}");
            // The words are those that the parser takes, apart from what they need beside them.
            let line = ["haul", name].map(str::to_owned).into_iter().chain(words.clone());
            let line = line.chain(
                (name == "send").then(|| ["a", "h:1"].map(str::to_owned)).into_iter().flatten(),
            );
            if let Err(error) = Haul::try_parse_from(line) {
                use clap::error::ErrorKind as Kind;
                let kind = error.kind();
                assert!(matches!(kind, Kind::MissingRequiredArgument), "{text} {error}");
            }
            let variable =
                format!("HAUL_{}_{}", name.to_uppercase(), long.to_uppercase().replace('-', "_"));
            let value = match &section[0].value {
                Given::Flag(_) => "1".to_owned(),
                Given::Values(values) => values.join(OsStr::new("\n")).into_string().unwrap(),
            };
            let set = of_environment(name, &[(&variable, &value)]).unwrap();
            assert_eq!(set[0].words(command), os(&words), "{variable}");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn setting_gives_way_to_what_counts_before_it() {
    let file = |text| of_file("receive", text).unwrap();
    let text = "port = 1\nquiet = true\njson = true\n[receive]\nport = 2\nexisting = \"skip\"";
    for (call, expected) in [
        ("haul receive", "--existing=skip --port=2 --json --quiet"),
        ("haul receive -p 3", "--existing=skip --json --quiet"),
        // What excludes it on the command line.
        ("haul receive --listen h:1 -v", "--existing=skip --json"),
        ("haul receive --connect h:1", "--existing=skip --json --quiet"),
        ("haul receive --ticket t", "--existing=skip --json --quiet"),
        ("haul receive --stdio", "--existing=skip --quiet"),
        ("haul receive inbox --existing=replace", "--port=2 --json --quiet"),
    ] {
        assert_eq!(merged(call, file(text)), expected, "{call}");
    }
    let variables =
        [("HAUL_RECEIVE_LISTEN", "h:1"), ("HAUL_RECEIVE_QUIET", "0"), ("HAUL_SEND_X", "1")];
    let mut layers = vec![of_environment("receive", &variables).unwrap()];
    layers.extend(file(text));
    assert_eq!(merged("haul receive", layers.clone()), "--listen=h:1 --existing=skip --json");
    assert_eq!(merged("haul receive -p 1", layers), "--existing=skip --json");
    let lists = of_file("send", "exclude = [\"a\", \"b\"]").unwrap();
    assert_eq!(merged("haul send x h:1", lists.clone()), "--exclude=a --exclude=b");
    assert_eq!(merged("haul send x h:1 --exclude c", lists), "");
}

#[test]
fn setting_that_is_none_is_told_with_the_nearest() {
    for (text, said) in [
        ("retry-fro = \"1m\"", "there is no key 'retry-fro'; there is retry-for"),
        ("xyzzy = 1", "there is no key 'xyzzy'"),
        (
            "[send]\nlimit_rate = \"1M\"",
            "there is no key 'limit_rate' in [send]; there is limit-rate",
        ),
        ("[send]\nexisting = \"skip\"", "existing is no key of [send], but of [receive]"),
        ("[recieve]\n", "there is no section [recieve]; there are [send] and [receive]"),
        ("quiet = 1", "quiet must be true or false"),
        ("port = true", "port must be a text or a number"),
        ("port = 1.5", "port must be a text or a number"),
        ("port = [1]", "port must be a text or a number"),
        ("exclude = [true]", "exclude must be a list of texts: [\"a\", \"b\"]"),
        ("ticket = \"x\"", "there is no key 'ticket'"),
        (
            "connect = \"HAUL://h:1/k/s\"",
            "connect holds a ticket, which is a secret: give it by --ticket",
        ),
        ("then = [\"a\", \";\"]", "a word of then cannot be ;"),
        ("port = 1\nport = 2", "line 2: duplicate key"),
        ("\nport = \n", "line 2: "),
    ] {
        let error = of_file("send", text).unwrap_err();
        assert!(error.starts_with(said) && !error.contains('\n'), "{text}: {error}");
    }
    for (variable, value, said) in [
        (
            "HAUL_SEND_LIMIT_RAT",
            "1M",
            "the variable HAUL_SEND_LIMIT_RAT sets no option; there is HAUL_SEND_LIMIT_RATE",
        ),
        ("HAUL_SEND_TICKET", "x", "the variable HAUL_SEND_TICKET sets no option"),
        ("HAUL_SEND_quiet", "1", "the variable HAUL_SEND_quiet sets no option"),
        ("HAUL_SEND_QUIET", "on", "the variable HAUL_SEND_QUIET is neither 1 nor 0"),
    ] {
        let error = of_environment("send", &[(variable, value)]).unwrap_err();
        assert!(error.starts_with(said), "{error}");
    }
    assert_eq!(of_environment("send", &[("HAUL_SEND_NAME", ""), ("HAUL_NAME", "x")]), Ok(vec![]));
}

#[test]
fn settings_of_the_page_about_them_are_what_the_command_takes() {
    let page = include_str!("../../../../docs/settings.md");
    let text = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    for (name, count, expected) in
        [("send", 4, "--retry-for=10m"), ("receive", 7, "--then exiftran -a -i {} ;")]
    {
        let layers = of_file(name, text).unwrap();
        assert_eq!(layers.iter().map(Vec::len).sum::<usize>(), count, "{layers:?}");
        let call = if name == "send" { "haul send a h:1" } else { "haul receive" };
        let words = merged(call, layers);
        assert!(words.contains(expected), "{words}");
        let line = call.split(' ').chain(words.split(' '));
        assert!(Haul::try_parse_from(line).is_ok(), "{words}");
    }
}
