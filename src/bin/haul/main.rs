//! The command `haul`: the crate's first embedder.
#![expect(clippy::disallowed_methods, reason = "the command reads clocks, files and arguments")]

mod access;
mod address;
mod args;
mod bars;
mod choices;
mod count;
mod demo;
#[cfg(test)]
mod documented;
mod ends;
mod examples;
mod exit;
mod explain;
mod failures;
mod figures;
mod filter;
mod help;
mod identity;
mod interfaces;
mod interrupt;
mod jobs;
mod kept_out;
mod list;
mod origin;
mod partials;
mod picture;
mod place;
mod plain;
mod producer;
mod program;
mod progress;
mod quota;
mod receive;
mod report;
mod runner;
mod screen;
mod send;
mod session;
mod settings;
mod speed;
mod spool;
mod status;
mod stream;
mod sum;
mod then;
mod trust;
mod units;
mod until;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::args::{Command, Haul, Output};
use crate::report::Reporter;

fn main() -> ExitCode {
    let haul = Haul::command();
    let line = match settings::line(&haul, std::env::args_os().collect()) {
        Ok(line) => line,
        Err(stop) => return failed(&stop),
    };
    let command = match Haul::try_parse_from(&line.words) {
        Ok(haul) => haul.command,
        Err(error) => return help::answer(&error, &haul, &line).into(),
    };
    let output = match &command {
        Command::Send(args) => args.output,
        Command::Receive(args) => args.output,
        Command::Demo(args) => args.output,
        Command::Partials(args) => Output { json: args.json, ..Output::default() },
        Command::Key | Command::Trust(_) | Command::Completions { .. } | Command::Man { .. } => {
            Output::default()
        }
    };
    let on_stderr = matches!(&command, Command::Receive(receive) if receive.stdio);
    let reporter = if on_stderr { Reporter::on_stderr(output) } else { Reporter::new(output) };
    let reporter = Arc::new(reporter);
    let result = interrupt::outlive_file_limit().and_then(|()| match &command {
        Command::Send(args) => send::run(args, &reporter),
        Command::Receive(args) => receive::run(args, &reporter),
        Command::Demo(args) => demo::run(args, &reporter),
        Command::Key => identity::show(),
        Command::Trust(args) => trust::run(args),
        Command::Partials(args) => partials::run(args, &reporter),
        Command::Completions { shell } => help::completions(*shell),
        Command::Man { command } => help::man(command.as_deref()),
    });
    let code = result.unwrap_or_else(|stop| {
        reporter.stop(&stop);
        stop.code
    });
    let code = if reporter.finish() { code.and(exit::Code::Local) } else { code };
    ExitCode::from(reporter.number(code))
}

/// Reports what is wrong before it is known what to do.
fn failed(stop: &exit::Stop) -> ExitCode {
    let reporter = Reporter::new(Output::default());
    reporter.stop(stop);
    reporter.finish();
    stop.code.into()
}
