//! Wrong uses of the command, and what to type instead: one line each.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use crate::address::Address;
use crate::explain::{clean, shown};

/// Formats what clap found wrong with these words as one line that names the command of `haul` whose help says more.
pub(crate) fn one_line(error: &Error, haul: &Command, words: &[String]) -> String {
    let text = error.to_string();
    let of = command_of(haul, words);
    let name = of.map(Command::get_name);
    let see = name.map_or_else(|| "haul --help".to_owned(), |of| format!("haul {of} --help"));
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let what = match error.kind() {
        ErrorKind::UnknownArgument => {
            let argument = said(ContextKind::InvalidArg).unwrap_or_default();
            let hint = match (instead(argument), said(ContextKind::SuggestedArg)) {
                _ if name == Some("receive") && is_peer(argument) => {
                    format!("; {}", fetch(argument))
                }
                (Some(hint), _) => format!("; {hint}"),
                (None, Some(near)) => format!("; there is {near}"),
                (None, None) => String::new(),
            };
            format!("there is no {argument} here{hint}")
        }
        ErrorKind::InvalidSubcommand => {
            let name = said(ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = match said(ContextKind::SuggestedSubcommand) {
                _ if is_receive(name) => "to receive files: haul receive DIR".to_owned(),
                _ if is_send(name) => "to send files: haul send PATH... ADDR".to_owned(),
                Some(near) => format!("there is haul {near}"),
                None => "to send files: haul send PATH... ADDR; to receive them: haul receive DIR"
                    .to_owned(),
            };
            format!("there is no command '{name}'; {hint}")
        }
        ErrorKind::MissingRequiredArgument
            if name == Some("send")
                && said(ContextKind::InvalidArg)
                    .is_some_and(|lacking| lacking.contains("PATH")) =>
        {
            "give what to send, and last where to: haul send PATH... ADDR".to_owned()
        }
        ErrorKind::ArgumentConflict => conflict(error, of, words).unwrap_or_else(|| plain(&text)),
        _ => plain(&text),
    };
    format!("{} (see {see})", clean(&what))
}

/// Explains an address that is none.
pub(crate) fn bad_address(text: &str, error: &str) -> String {
    let hint = match text.split_once(':') {
        Some(("ssh" | "exec" | "unix", _)) if !text.contains("://") => None,
        _ if is_ticket(text) => None,
        _ if text.contains("://") => {
            Some("haul speaks its own protocol; write host:port, or the line haul://… that a receiver prints".to_owned())
        }
        None if text.parse::<u16>().is_ok_and(|port| port > 0) => {
            Some(format!("for that port of this machine write :{text}"))
        }
        None if is_host(text) && !Path::new(text).exists() => {
            Some(format!("add the port: {text}:7117"))
        }
        Some((host, folder)) if is_host(host) && is_folder(folder) => Some(format!(
            "to reach a folder over ssh: ssh:{text}; to reach a receiver that listens: {host}:7117",
        )),
        Some((_, rest)) if rest.contains(':') && !text.contains('[') => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, "7117"));
            let is_ip = format!("{host}:").parse::<std::net::Ipv6Addr>().is_ok()
                || host.parse::<std::net::Ipv6Addr>().is_ok();
            is_ip.then(|| format!("an IPv6 address has brackets: [{host}]:{port}"))
        }
        _ => None,
    };
    match hint {
        Some(hint) => format!("'{text}' is no address: {hint}"),
        None => format!("invalid ADDR '{text}': {error}"),
    }
}

/// Returns the hint for places of which the last is no address, where another one is.
pub(crate) fn address_elsewhere(places: &[OsString]) -> Option<String> {
    let is_address = |place: &&OsString| {
        let text = place.to_str().unwrap_or_default();
        text.parse::<Address>().is_ok() && !Path::new(text).exists()
    };
    let address = places.iter().find(is_address)?;
    let others = places.iter().filter(|place| *place != address);
    let paths: Vec<String> = others.map(|place| shown(Path::new(place))).collect();
    let (paths, address) = (paths.join(" "), shown(Path::new(address)));
    Some(format!("the address comes last: haul send {paths} {address}"))
}

/// Returns the hint for a folder to receive into that is an address, or a place on another machine.
pub(crate) fn folder_is_address(folder: &Path) -> Option<String> {
    let text = folder.to_str().filter(|_| !folder.exists())?;
    if is_ticket(text) {
        return Some(format!("'{text}' is no folder; {}", fetch(text)));
    }
    let is_address = text.parse::<Address>().is_ok();
    let is_port = text.parse::<u16>().is_ok_and(|port| port > 1023);
    let listen = if is_port { format!(":{text}") } else { text.to_owned() };
    (is_address || is_port).then(|| {
        format!(
            "'{text}' is an address, and not a folder; to listen there: \
             haul receive DIR --listen {listen}; to fetch from a sender there: \
             haul receive DIR --connect {listen}"
        )
    })
}

/// Returns the command that was called, where there is one of this name.
fn command_of<'a>(haul: &'a Command, words: &[String]) -> Option<&'a Command> {
    let name = words.iter().skip(1).find(|word| !word.starts_with('-'))?;
    haul.get_subcommands().find(|command| command.get_name() == name)
}

/// Formats a conflict of options, of which clap also names those that were not given.
fn conflict(error: &Error, of: Option<&Command>, words: &[String]) -> Option<String> {
    let Some(ContextValue::String(first)) = error.get(ContextKind::InvalidArg) else { return None };
    let Some(ContextValue::Strings(others)) = error.get(ContextKind::PriorArg) else { return None };
    let is_given = |other: &&String| {
        let long = other.split_whitespace().next().unwrap_or_default();
        let of_it = |arg: &&Arg| arg.get_long() == long.strip_prefix("--");
        let short = of.and_then(|of| of.get_arguments().find(of_it)).and_then(Arg::get_short);
        let is_short = |word: &String| {
            word.strip_prefix('-').zip(short).is_some_and(|(rest, short)| rest.starts_with(short))
        };
        let is_long = |word: &String| word.split('=').next() == Some(long);
        words.iter().any(|word| is_long(word) || is_short(word))
    };
    let given: Vec<_> = others.iter().filter(is_given).map(|it| format!("'{it}'")).collect();
    let all = if given.is_empty() { others.join(", ") } else { given.join(" and ") };
    Some(format!("the argument '{first}' cannot be used with {all}"))
}

/// Returns what to do with an address that stands where a receiver expects none.
fn fetch(address: &str) -> String {
    let (who, shown) = match is_ticket(address) {
        true => ("the line is for who is to send; a sender that listens prints one for", TICKET),
        false => ("to fetch from a sender that listens there:", address),
    };
    format!("{who} haul receive DIR --connect {shown}")
}

fn is_ticket(text: &str) -> bool {
    text.get(..TICKET.len()).is_some_and(|start| start.eq_ignore_ascii_case(TICKET))
}

fn is_peer(text: &str) -> bool {
    is_ticket(text) || text.parse::<Address>().is_ok()
}

/// Beginning of the line that is pasted.
const TICKET: &str = "haul://";

/// Returns what to do in the place of an option that other tools have.
fn instead(argument: &str) -> Option<&'static str> {
    Some(match argument.split('=').next()? {
        "--bind" | "--address" => {
            "where it listens: --listen host:7117; where it dials, the address is the last argument"
        }
        "--host" => "the address is the last argument: haul send PATH... host:7117",
        "-r" | "-R" | "-a" | "--recursive" | "--archive" => {
            "folders are sent with all that they hold, without an option"
        }
        "-z" | "--compress" => "haul does not compress",
        "-o" | "--out" | "--output" | "--dir" => "name the folder as it is: haul receive DIR",
        "-P" | "--partial" | "--resume" | "--continue" => {
            "what was interrupted goes on when the same command is run again"
        }
        "-f" | "--force" | "--overwrite" => "the receiver decides: haul receive --existing replace",
        "-c" | "--checksum" | "--verify" | "--hash" => "everything is verified without an option",
        "--delete" => "haul deletes nothing at a receiver",
        "--password" | "--pass" | "--code" | "--secret" | "--key" | "-k" => {
            "who may come is a matter of keys: see haul trust --help"
        }
        _ => return None,
    })
}

fn is_receive(name: &str) -> bool {
    matches!(name, "recv" | "get" | "fetch" | "pull" | "serve" | "server" | "listen" | "download")
}

fn is_send(name: &str) -> bool {
    matches!(name, "put" | "push" | "copy" | "cp" | "upload" | "share" | "to")
}

/// Returns whether a text may be a host, with or without a user.
fn is_host(text: &str) -> bool {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || ".-_@".contains(char);
    text.starts_with(|char: char| char.is_ascii_alphanumeric()) && text.chars().all(is_of_name)
}

/// Returns whether a text after a host may be a folder there, as scp has it, and not a port.
fn is_folder(text: &str) -> bool {
    let is_number = text.chars().all(|char| char.is_ascii_digit());
    !text.is_empty() && !is_number && !text.contains(':')
}

/// Returns what clap says in several lines, without the usage.
fn plain(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let end = ["\n\nUsage:", "\n\nFor more", "\n\n  tip:"]
        .iter()
        .filter_map(|mark| text.find(mark))
        .min();
    let text = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Haul;

    #[test]
    fn wrong_usage_is_one_line_with_what_to_type() {
        for (line, expected) in [
            (
                "haul send",
                "give what to send, and last where to: haul send PATH... ADDR (see haul send --help)",
            ),
            (
                "haul send a b:1 --null",
                "the following required arguments were not provided: --files-from <FILE> (see haul send --help)",
            ),
            (
                "haul receive --onec",
                "there is no --onec here; there is --once (see haul receive --help)",
            ),
            (
                "haul send -r a b:1",
                "there is no -r here; folders are sent with all that they hold, without an option \
                 (see haul send --help)",
            ),
            (
                "haul recv",
                "there is no command 'recv'; to receive files: haul receive DIR (see haul --help)",
            ),
            ("haul snd", "there is no command 'snd'; there is haul send (see haul --help)"),
            (
                "haul receive --existing all",
                "invalid value 'all' for '--existing <EXISTING>' [possible values: refuse, skip, \
                 rename, replace] (see haul receive --help)",
            ),
            (
                "haul receive --port x",
                "invalid value 'x' for '--port <PORT>': a port is a number up to 65535, and 0 is \
                 any free one (see haul receive --help)",
            ),
            (
                "haul receive --port=1 --connect h:1",
                "the argument '--port <PORT>' cannot be used with '--connect <ADDR>' (see haul \
                 receive --help)",
            ),
            (
                "haul receive -p 1 -l h:1 --stdio",
                "the argument '--port <PORT>' cannot be used with '--listen <ADDR>' and '--stdio' \
                 (see haul receive --help)",
            ),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let error = Haul::try_parse_from(&words).unwrap_err();
            assert_eq!(one_line(&error, &Haul::command(), &words), expected, "{line}");
        }
    }
}
