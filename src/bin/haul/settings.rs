//! Settings: options that the environment or a file gives, as words before those of the command line.
//!
//! What the command line says counts first, then the environment (`HAUL_SEND_LIMIT_RATE`), then the section of the file
//! that has the name of the command, then the top of the file. A setting gives way to what counts before it, also
//! where both are options that exclude each other.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use crate::exit::{Code, Stop};
use crate::explain::shown;
use crate::identity;

/// Words of a command, settings among them.
pub(crate) struct Line {
    pub(crate) words: Vec<OsString>,
    /// Words as they were given.
    given: Vec<OsString>,
    /// Settings that were taken in.
    taken: Vec<Setting>,
}

/// An option that was set elsewhere than on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// Long name of the option.
    long: String,
    value: Given,
    /// Place where it was set, for people.
    origin: String,
}

/// Value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Flag(bool),
    Values(Vec<OsString>),
}

/// Returns the words of the command line with the settings for its command.
pub(crate) fn line(haul: &Command, given: Vec<OsString>) -> Result<Line, Stop> {
    let bare = |given: Vec<OsString>| Line { words: given.clone(), given, taken: Vec::new() };
    // What is wrong with the words is told when all are parsed.
    let parsed = haul.clone().ignore_errors(true).try_get_matches_from(&given);
    let Some((name, said)) = parsed.as_ref().ok().and_then(ArgMatches::subcommand) else {
        return Ok(bare(given));
    };
    // Which options exclude each other is known of a command that is built.
    let mut haul = haul.clone();
    haul.build();
    let command = haul.find_subcommand(name).filter(|_| SECTIONS.contains(&name));
    let at = given.iter().position(|word| word.as_os_str() == OsStr::new(name));
    let (Some(command), Some(at)) = (command, at) else { return Ok(bare(given)) };
    let mut layers = vec![environment(command, env::vars_os())?];
    if !said.get_flag(NO_CONFIG) {
        layers.extend(file(&haul, name)?);
    }
    let said = explicit(command, said);
    let taken = taken(command, said, layers);
    let mut words = given.clone();
    let settings: Vec<_> = taken.iter().flat_map(|setting| setting.words(command)).collect();
    words.splice(at + 1..=at, settings);
    Ok(Line { words, given, taken })
}

impl Line {
    /// Returns the place of the setting that an error is about; `None` where the command line is wrong.
    pub(crate) fn origin(&self, haul: &Command, error: &clap::Error) -> Option<String> {
        let about = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(about)) => about.split_whitespace().next(),
            _ => None,
        };
        let long = about.and_then(|about| about.strip_prefix("--"));
        let found = self.taken.iter().find(|setting| Some(setting.long.as_str()) == long);
        if let Some(setting) = found {
            return Some(setting.origin.clone());
        }
        let is_right_alone = || haul.clone().try_get_matches_from(&self.given).is_ok();
        let origins: BTreeSet<_> = self.taken.iter().map(|it| it.origin.as_str()).collect();
        let all = || origins.iter().copied().collect::<Vec<_>>().join(", ");
        (!origins.is_empty() && is_right_alone()).then(all)
    }
}

impl Setting {
    /// Returns what it is on a command line.
    fn words(&self, command: &Command) -> Vec<OsString> {
        let flag = OsString::from(format!("--{}", self.long));
        let values = match &self.value {
            Given::Flag(false) => return Vec::new(),
            Given::Flag(true) => return vec![flag],
            Given::Values(values) => values,
        };
        let has_end = |arg: &Arg| arg.get_value_terminator().map(OsString::from);
        if let Some(end) = option(command, &self.long).and_then(has_end) {
            return [flag].into_iter().chain(values.iter().cloned()).chain([end]).collect();
        }
        let word = |value: &OsString| {
            let mut word = flag.clone();
            word.push("=");
            word.push(value);
            word
        };
        values.iter().map(word).collect()
    }
}

/// Returns the settings that hold, of layers that count one before the other.
fn taken<'a>(
    command: &'a Command,
    mut said: Vec<&'a Arg>,
    layers: Vec<Vec<Setting>>,
) -> Vec<Setting> {
    let mut all = Vec::new();
    for layer in layers {
        let of_layer = layer.into_iter().filter_map(|it| Some((option(command, &it.long)?, it)));
        let gives_way = |arg: &Arg| said.iter().any(|other| exclude(command, arg, other));
        let left: Vec<_> = of_layer.filter(|(arg, _)| !gives_way(arg)).collect();
        for (arg, setting) in left {
            said.push(arg);
            all.push(setting);
        }
    }
    all
}

/// Returns whether two options cannot both be given.
fn exclude(command: &Command, one: &Arg, other: &Arg) -> bool {
    let names = |from: &Arg, to: &Arg| {
        command.get_arg_conflicts_with(from).iter().any(|arg| arg.get_id() == to.get_id())
    };
    one.get_id() == other.get_id() || names(one, other) || names(other, one)
}

/// Returns the options that the command line has.
fn explicit<'a>(command: &'a Command, said: &ArgMatches) -> Vec<&'a Arg> {
    let is_said = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        said.try_contains_id(id).is_ok() && said.value_source(id) == Some(ValueSource::CommandLine)
    };
    command.get_arguments().filter(is_said).collect()
}

/// Returns the settings of the environment.
fn environment(
    command: &Command,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, Stop> {
    let prefix = format!("HAUL_{}_", command.get_name().to_uppercase());
    let mut settings = Vec::new();
    for (variable, value) in variables {
        let Some(rest) = variable.to_str().and_then(|name| name.strip_prefix(&prefix)) else {
            continue;
        };
        let long = rest.to_lowercase().replace('_', "-");
        let Some(arg) = option(command, &long).filter(|_| !rest.contains(char::is_lowercase))
        else {
            let near = nearest(&long, [command].into_iter());
            let near = near.map(|near| near.to_uppercase().replace('-', "_"));
            let near = near.map(|near| format!("; there is {prefix}{near}")).unwrap_or_default();
            return Err(wrong(format!("the variable {prefix}{rest} sets no option{near}")));
        };
        let value = match (arg.get_action(), value.to_str()) {
            (_, Some("")) => continue,
            (ArgAction::SetTrue, Some("1" | "true" | "yes")) => Given::Flag(true),
            (ArgAction::SetTrue, Some("0" | "false" | "no")) => Given::Flag(false),
            (ArgAction::SetTrue, _) => {
                return Err(wrong(format!("the variable {prefix}{rest} is neither 1 nor 0")));
            }
            // Several values stand on lines of their own.
            (ArgAction::Append, _) => {
                let lines = value.as_bytes().split(|byte| *byte == b'\n');
                let lines = lines.filter(|line| !line.is_empty());
                Given::Values(lines.map(|line| OsStr::from_bytes(line).to_owned()).collect())
            }
            _ => Given::Values(vec![value]),
        };
        settings.push(Setting { long, value, origin: format!("the variable {prefix}{rest}") });
    }
    Ok(settings)
}

/// Returns the settings of the file, of the section that is for a command and of the top.
fn file(haul: &Command, name: &str) -> Result<Vec<Vec<Setting>>, Stop> {
    // Where there is no folder for a key, there is none for settings.
    let Ok(folder) = identity::folder() else { return Ok(Vec::new()) };
    let path = folder.join(FILE);
    let Some(text) = identity::read_kept(&path)? else { return Ok(Vec::new()) };
    read(haul, name, &text, &path).map_err(|what| wrong(format!("{}: {what}", shown(&path))))
}

/// Reads the text of the file.
fn read(haul: &Command, name: &str, text: &str, path: &Path) -> Result<Vec<Vec<Setting>>, String> {
    let table: Table = text.parse().map_err(|error| syntax(text, &error))?;
    let commands = || haul.get_subcommands().filter(|it| SECTIONS.contains(&it.get_name()));
    let (mut section, mut top) = (Vec::new(), Vec::new());
    for (key, value) in &table {
        let Value::Table(inner) = value else {
            let own = commands().find(|command| command.get_name() == name);
            let mut by_need = own.into_iter().chain(commands());
            let arg = by_need.find_map(|command| option(command, key));
            let arg = arg.ok_or_else(|| unknown(key, "", commands()))?;
            top.push(setting(arg, key, value, path)?);
            continue;
        };
        let command = commands().find(|command| command.get_name() == key).ok_or_else(|| {
            format!("there is no section [{}]; there are [send] and [receive]", key.escape_debug())
        })?;
        for (key, value) in inner {
            let place = format!(" in [{}]", command.get_name());
            let unknown = || {
                let other = commands().find(|other| option(other, key).is_some());
                other.map_or_else(
                    || unknown(key, &place, [command].into_iter()),
                    |other| {
                        format!(
                            "{key} is no key of [{}], but of [{}]",
                            command.get_name(),
                            other.get_name()
                        )
                    },
                )
            };
            let arg = option(command, key).ok_or_else(unknown)?;
            let setting = setting(arg, key, value, path)?;
            if command.get_name() == name {
                section.push(setting);
            }
        }
    }
    Ok(vec![section, top])
}

/// Returns what a key of the file sets.
fn setting(arg: &Arg, key: &str, value: &Value, path: &Path) -> Result<Setting, String> {
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let is_list = matches!(arg.get_action(), ArgAction::Append);
    let expected = match (is_flag, is_list) {
        (true, _) => "true or false",
        (_, true) => "a list of texts: [\"a\", \"b\"]",
        _ => "a text or a number",
    };
    let single = |value: &Value| match value {
        Value::String(text) if !is_flag => Some(text.clone()),
        Value::Integer(number) if !is_flag => Some(number.to_string()),
        _ => None,
    };
    let texts = match value {
        Value::Boolean(is_set) if is_flag => {
            let (long, value) = (key.to_owned(), Given::Flag(*is_set));
            return Ok(Setting { long, value, origin: shown(path) });
        }
        Value::Array(values) if is_list => values.iter().map(single).collect(),
        value => single(value).map(|text| vec![text]),
    };
    let texts: Vec<String> = texts.ok_or_else(|| format!("{key} must be {expected}"))?;
    if texts.iter().any(|text| text.to_lowercase().starts_with("haul://")) {
        return Err(format!("{key} holds a ticket, which is a secret: give it by --ticket"));
    }
    if let Some(end) = arg.get_value_terminator()
        && texts.iter().any(|text| *end == **text)
    {
        return Err(format!("a word of {key} cannot be {end}"));
    }
    let value = Given::Values(texts.into_iter().map(OsString::from).collect());
    Ok(Setting { long: key.to_owned(), value, origin: shown(path) })
}

/// Returns the option of this long name, if it can be set.
fn option<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    options(command).find(|arg| arg.get_long() == Some(long))
}

/// Returns the options that can be set. A ticket is for one, and a secret.
fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_setting = |long: &str| !matches!(long, "help" | "version" | "ticket" | "no-config");
    command.get_arguments().filter(move |arg| arg.get_long().is_some_and(is_setting))
}

/// Returns the error of a key that sets nothing.
fn unknown<'a>(key: &str, place: &str, commands: impl Iterator<Item = &'a Command>) -> String {
    let near = nearest(key, commands).map(|near| format!("; there is {near}"));
    format!("there is no key '{}'{place}{}", key.escape_debug(), near.unwrap_or_default())
}

/// Returns the name of an option that a key may have been meant for.
fn nearest<'a>(key: &str, commands: impl Iterator<Item = &'a Command>) -> Option<&'a str> {
    let longs = commands.flat_map(options).filter_map(Arg::get_long);
    let near = longs.map(|long| (strsim::jaro(key, long), long));
    let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(near, _)| *near > NEAR).map(|(_, long)| long)
}

/// Returns the error of a text that is no TOML, as one line.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().get(..start).unwrap_or_default();
    let number = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let what = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    format!("line {number}: {what}")
}

fn wrong(text: String) -> Stop {
    Stop::new(Code::Usage, text)
}

/// Name of the file, beside the key of this user.
const FILE: &str = "config.toml";

/// Commands that have settings.
const SECTIONS: [&str; 2] = ["send", "receive"];

/// Id of the option to do without the file.
const NO_CONFIG: &str = "no_config";

/// Likeness, of 1, from which on a name may have been meant: that of clap.
const NEAR: f64 = 0.7;

#[cfg(test)]
mod tests;
