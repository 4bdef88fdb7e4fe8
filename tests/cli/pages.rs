//! Help and manual pages as they are printed: `tests/pages` holds each. `HAUL_BLESS=1` writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::quiet;
use crate::haul::{HAUL, Haul};

/// Commands that have a page.
const COMMANDS: [&str; 8] =
    ["send", "receive", "demo", "key", "trust", "partials", "completions", "man"];

/// Returns every page by the name of its file, 80 columns wide.
fn pages() -> Vec<(String, String)> {
    let print = |arguments: &[&str]| {
        let mut command = quiet(HAUL);
        // There is no terminal whose width counts.
        command.args(arguments).env("COLUMNS", "80").env_remove("LINES");
        let page = Haul::spawn(command).finish().code(0).stdout;
        page.replace(env!("CARGO_PKG_VERSION"), "VERSION")
    };
    let mut pages = vec![
        ("haul.short.txt".to_owned(), print(&["-h"])),
        ("haul.txt".to_owned(), print(&["--help"])),
        ("haul.1".to_owned(), print(&["man"])),
    ];
    for name in COMMANDS {
        pages.push((format!("haul-{name}.short.txt"), print(&[name, "-h"])));
        pages.push((format!("haul-{name}.txt"), print(&[name, "--help"])));
        pages.push((format!("haul-{name}.1"), print(&["man", name])));
    }
    pages
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages")
}

#[test]
fn page_of_each_command_is_as_it_was_read_last() {
    let pages = pages();
    if std::env::var_os("HAUL_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, page) in &pages {
            fs::write(folder().join(name), page).unwrap();
        }
    }
    // A package from the registry may lack them.
    if !folder().is_dir() {
        return;
    }
    for (name, page) in &pages {
        let written = fs::read_to_string(folder().join(name)).unwrap_or_default();
        let differs = written.lines().zip(page.lines()).find(|(was, is)| was != is);
        assert!(written == *page, "{name}: run with HAUL_BLESS=1, and read it: {differs:?}");
    }
    let mut files: Vec<_> =
        fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    let mut names: Vec<_> = pages.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
    files.sort();
    names.sort();
    assert_eq!(files, names, "a page of a command that is gone");
}

#[test]
fn page_of_help_fits_a_terminal_of_80_columns() {
    for (name, page) in pages().into_iter().filter(|(name, _)| name.ends_with(".txt")) {
        for line in page.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

/// Returns the words of a text that begin so, without what stands around them.
fn words_with<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    let is_end = |char: char| !char.is_ascii_alphanumeric() && !matches!(char, '-' | '_');
    let words = text.match_indices(start).map(|(at, _)| text[at..].split(is_end).next().unwrap());
    words.map(|word| word.trim_end_matches(['-', '_'])).filter(|word| *word != start).collect()
}

#[test]
fn page_names_no_option_variable_or_exit_code_that_the_documents_do_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let documents = ["CHANGELOG.md", "README.md", "docs/settings.md", "docs/terminal.md"];
    let documents = documents.map(|name| read(root.join(name))).concat();
    // A package from the registry may lack them.
    if !root.join("docs").is_dir() {
        return;
    }
    let pages = pages();
    let pages: String =
        pages.iter().filter(|(name, _)| name.ends_with(".txt")).map(|it| &*it.1).collect();
    for start in ["--", "HAUL_"] {
        let named = words_with(&documents, start);
        let of_any_command = ["--help", "--version", "HAUL_SEND_RETRY_FOR"];
        let missing: Vec<_> = words_with(&pages, start)
            .into_iter()
            .filter(|word| !named.contains(word) && !of_any_command.contains(word))
            .collect();
        assert_eq!(missing, [""; 0], "only a help page names it");
    }
    let codes = pages.split("EXIT STATUS\n").nth(1).unwrap().lines();
    let codes = codes.filter_map(|line| line.get(2..5)?.trim().parse::<u8>().ok());
    let codes: Vec<_> = codes.take(6).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 130]);
    for code in codes {
        assert!(documents.contains(&format!("\n| {code} | ")), "{code} is in no table");
    }
}

/// Pages of all commands: one that is new is listed here, or fails.
#[test]
fn page_is_held_of_every_command() {
    let mut haul = quiet(HAUL);
    let help = Haul::spawn({
        haul.arg("-h");
        haul
    })
    .finish()
    .code(0)
    .stdout;
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let named: Vec<_> = named.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(named, [&COMMANDS[..], &["help"]].concat());
}
