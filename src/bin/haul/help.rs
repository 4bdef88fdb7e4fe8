//! Help, the manual page, completions, and the message on wrong usage.

use std::io::{self, Write};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Error};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Haul, Output};
use crate::exit::{Code, Stop};
use crate::explain::system;
use crate::report::Reporter;
use crate::settings::Line;
use crate::usage::one_line;

/// Prints the output of clap: help that was asked for, or one line on wrong usage.
pub(crate) fn answer(error: &Error, haul: &Command, line: &Line) -> Code {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Code::Local,
            _ => Code::Done,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A reader that does not read keeps it waiting for no longer than anything else.
            let reporter = Reporter::new(Output::default());
            error.to_string().lines().for_each(|line| reporter.progress(line));
            reporter.finish();
            Code::Usage
        }
        _ => {
            let reporter = Reporter::new(Output::default());
            let words: Vec<_> = line.words.iter().map(|it| it.to_string_lossy().into()).collect();
            let text = one_line(error, haul, &words);
            let text = match line.origin(haul, error) {
                Some(origin) => format!("{origin}: {text}"),
                None => text,
            };
            reporter.complain(&text);
            reporter.finish();
            Code::Usage
        }
    }
}

/// Prints a script that completes in this shell.
pub(crate) fn completions(shell: Shell) -> Result<Code, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Haul::command(), "haul", &mut script);
    print(&script)
}

/// Prints the manual page of the command, with one section for each of its commands; or that of one of them.
pub(crate) fn man(of: Option<&str>) -> Result<Code, Stop> {
    let mut page = Vec::new();
    let mut haul = Haul::command();
    haul.build();
    let rendered = match of {
        None => Man::new(haul.clone()).render(&mut page).and_then(|()| {
            haul.get_subcommands()
                .filter(|command| command.get_name() != "help")
                .try_for_each(|command| section(command, &mut page))
        }),
        Some(name) => {
            let mut commands = haul.get_subcommands();
            let Some(command) = commands.find(|command| command.get_name() == name) else {
                let text = format!("there is no command '{name}' (see haul --help)");
                return Err(Stop::new(Code::Usage, text));
            };
            Man::new(command.clone()).render(&mut page)
        }
    };
    rendered.map_err(|error| Stop::new(Code::Local, format!("cannot make the page: {error}")))?;
    print(&page)
}

fn section(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command.clone());
    writeln!(page, ".SH \"HAUL {}\"", command.get_name().to_uppercase())?;
    let mut parts = Vec::new();
    man.render_synopsis_section(&mut parts)?;
    man.render_description_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    // One level down: they are parts of this section.
    page.extend_from_slice(String::from_utf8_lossy(&parts).replace(".SH ", ".SS ").as_bytes());
    Ok(())
}

/// Prints all of it; that nobody reads on is not an error.
pub(crate) fn print(bytes: &[u8]) -> Result<Code, Stop> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Stop::new(
            Code::Local,
            format!("cannot write to standard output: {}", system(&error)),
        )),
        _ => Ok(Code::Done),
    }
}
