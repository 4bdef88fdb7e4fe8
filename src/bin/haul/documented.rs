//! The command lines of the documents and help pages, as the command takes them.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};

use crate::args::{Command, Haul};
use crate::examples;

/// Returns the documents by their names. A package from the registry may lack some.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).into_iter().flatten();
    let pages = pages.map(|page| page.unwrap().path()).filter(|page| page.extension().is_some());
    let pages = pages.filter(|page| page.extension().unwrap() == "md");
    let all =
        pages.chain(["README.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    let read = |path: std::path::PathBuf| {
        Some((path.display().to_string(), fs::read_to_string(&path).ok()?))
    };
    all.filter_map(read).collect()
}

/// Returns the part of a line that calls haul: what is before it is a prompt, or the other end of a pipe, and what
/// is after two spaces says what it does.
fn call(line: &str) -> Option<&str> {
    let line = line.rsplit_once("$ ").map_or(line, |(_, line)| line).trim();
    let start = line.split(" | ").find(|part| part.starts_with("haul "))?;
    Some(start.split("  ").next().unwrap().trim_end())
}

/// Returns the calls of the blocks of a document, and what stands in its text.
fn calls(text: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut blocks, mut spans) = (Vec::new(), Vec::new());
    let mut fence = None;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            fence = fence.is_none().then_some(kind);
            continue;
        }
        match fence {
            Some("console" | "text" | "sh") => blocks.extend(call(line)),
            Some(_) => {}
            None => {
                let code = line.split('`').skip(1).step_by(2);
                spans.extend(code.filter(|code| code.starts_with("haul ")));
            }
        }
    }
    (blocks, spans)
}

/// Returns the words of a call, as a shell has them, with something real for what stands for it.
fn words(call: &str) -> Vec<String> {
    let key = haul::types::PublicKey::from_bytes([7; 32]);
    let secret = haul::transport::secure::TicketSecret::generate().unwrap();
    let ticket = format!("haul://192.168.1.5:7117/{key}/{}", *secret.to_text());
    let mut words = vec![String::new()];
    let mut quote = None;
    for char in call.chars() {
        match char {
            '\'' | '"' if quote.is_none() => quote = Some(char),
            char if quote == Some(char) => quote = None,
            ' ' if quote.is_none() => words.push(String::new()),
            char => words.last_mut().unwrap().push(char),
        }
    }
    for word in &mut words {
        match word.as_str() {
            "haul://…" | "haul://192.168.1.5:7117/KEY/SECRET" => word.clone_from(&ticket),
            "KEY" => *word = key.to_string(),
            _ => {}
        }
    }
    words
}

/// Parses a call, down to its address; the error is what would be told.
fn parse(call: &str) -> Result<(), String> {
    let parsed = Haul::try_parse_from(words(call)).map_err(|error| error.to_string())?;
    match parsed.command {
        Command::Send(send) => send.split().map(drop),
        _ => Ok(()),
    }
}

#[test]
fn command_lines_of_documents_and_help_are_what_the_command_takes() {
    let mut count = 0;
    let examples = [examples::HAUL, examples::SEND, examples::RECEIVE, examples::PARTIALS];
    let examples =
        examples.iter().flat_map(|text| text.lines().take_while(|line| !line.is_empty()));
    let documents = documents();
    let blocks = documents.iter().flat_map(|(_, text)| calls(text).0);
    for call in blocks.chain(examples.filter_map(call)) {
        count += 1;
        assert_eq!(parse(call), Ok(()), "{call}");
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn options_that_documents_name_are_those_of_the_command() {
    let haul = Haul::command();
    let documents = documents();
    let mut count = 0;
    for span in documents.iter().flat_map(|(_, text)| calls(text).1) {
        let mut words = span.split([' ', '[', ']', '\'', '=']).skip(1);
        let name = words.next().unwrap();
        if name.starts_with('-') {
            continue;
        }
        let command = haul.get_subcommands().find(|command| command.get_name() == name);
        let command = command.unwrap_or_else(|| panic!("{span}: there is no such command"));
        for word in words.filter_map(|word| word.strip_prefix("--")) {
            count += 1;
            let has = |long: Option<&str>| long == Some(word) || word == "help";
            // A command within an address is another one.
            let of_any = |option: &str| {
                haul.get_subcommands()
                    .flat_map(|it| it.get_arguments())
                    .any(|arg| arg.get_long() == Some(option))
            };
            let is_there = command.get_arguments().any(|arg| has(arg.get_long()))
                || span.contains("exec:") && of_any(word);
            assert!(is_there, "{span}: there is no --{word}");
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn command_line_that_the_command_does_not_take_is_found() {
    for line in
        ["$ haul receive --plain photo.jpg --chunk 1024    or: bob.py", "a | haul send - host"]
    {
        assert!(parse(call(line).unwrap()).is_err(), "{line}");
    }
    assert_eq!(call("$ ls | wc"), None);
}
