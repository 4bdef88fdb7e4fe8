//! The gate, its parts and its documents name the same things.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Reads a file of the repository. A package from the registry has neither gate nor targets; that there is a README,
/// cargo checks.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The command that the gate runs last, and the README gives.
const TESTS: &str = "cargo test --locked --all-features";

#[test]
fn readme_gives_the_test_command_of_the_gate() {
    for path in [".ci/run", "README.md", "docs/verification.md"] {
        let text = read(path);
        assert!(text.is_empty() || text.contains(TESTS), "{path} does not say `{TESTS}`");
    }
}

#[test]
fn fuzz_targets_are_those_that_the_gate_and_the_manifest_name() {
    let Ok(folder) = fs::read_dir("fuzz/fuzz_targets") else { return };
    let files: BTreeSet<String> = folder
        .map(|file| file.expect("the folder is read").file_name().to_string_lossy().into_owned())
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect();
    let gate = read(".ci/run");
    let named = gate.split_once("TARGETS=(").and_then(|(_, rest)| rest.split_once(')'));
    let named = named.expect("the gate lists its targets").0.split_whitespace();
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), files);
    let manifest = read("fuzz/Cargo.toml");
    let documents = read("docs/verification.md");
    for name in &files {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(documents.contains(&format!("| `{name}` |")), "{name} is not documented");
        let body = read(&format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(body.contains(&format!("haul::testing::fuzz::{name}(data)")), "{name}");
    }
}

#[cfg(feature = "testing")]
#[test]
fn fuzz_bodies_are_those_of_the_targets() {
    let Ok(folder) = fs::read_dir("fuzz/corpus") else { return };
    let corpora: BTreeSet<String> = folder
        .map(|file| file.expect("the folder is read").file_name().to_string_lossy().into_owned())
        .collect();
    let bodies = haul::testing::fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned());
    assert_eq!(bodies.collect::<BTreeSet<_>>(), corpora);
}

/// Returns every Rust file below these folders, by its path.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(std::path::PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder is read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("it is text");
                files.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    files
}

/// Returns whether there is a test of this name. A function that a test calls is none: who asks for it by its name runs
/// nothing.
fn has_test(text: &str, name: &str) -> bool {
    text.match_indices(&format!("fn {name}(")).any(|(at, _)| {
        let above = text[..at].rsplit('\n').skip(1).map(str::trim);
        above.take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]")
    })
}

/// System calls that Unix systems do not share stand in one file, where each has its stand-in.
#[test]
fn system_calls_that_differ_stand_in_one_file() {
    let apart = ["fdatasync", "fcntl_fullfsync", "renameat_with", "fallocate", "fs::SeekFrom"];
    let files = rust_files(&["src/store", "src/transport", "src/drive"]);
    let calls = |(path, text): &&(String, String)| {
        !path.contains("tests") && apart.iter().any(|call| text.contains(call))
    };
    let found: Vec<_> = files.iter().filter(calls).map(|(path, _)| path.as_str()).collect();
    let expected = if files.is_empty() { vec![] } else { vec!["src/store/fs/sys.rs"] };
    assert_eq!(found, expected);
}

/// Names of tests stand in the last column of its tables.
#[test]
fn waits_are_documented_with_tests_that_exist() {
    let page = read("docs/liveness.md");
    let sources: String = rust_files(&["src", "tests"]).into_iter().map(|(_, text)| text).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let mut names = 0;
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().expect("a row has columns");
        for name in last.split('`').skip(1).step_by(2) {
            names += 1;
            assert!(has_test(&sources, name), "there is no test {name}");
        }
    }
    assert!(page.is_empty() || names > 20, "{names}");
}

/// Each claim has a row, with the names of its tests in the last column, or words that say why there are none.
#[test]
fn claims_of_who_can_do_what_have_tests_that_exist_or_a_reason() {
    let page = read("docs/threat-model.md");
    let sources: String = rust_files(&["src", "tests"]).into_iter().map(|(_, text)| text).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    let mut names = 0;
    for row in rows {
        let last = row.trim_end_matches(['|', ' ']).rsplit('|').next().expect("a row has columns");
        assert!(!last.trim().is_empty(), "there is no test for {row}");
        for name in last.split('`').skip(1).step_by(2).filter(|name| !name.contains("::")) {
            names += 1;
            assert!(has_test(&sources, name), "there is no test {name}");
        }
    }
    assert!(page.is_empty() || names > 15, "{names}");
}

/// Each class of attack has a row: files with the names of tests in them, or words that say why there are none.
#[test]
fn attacks_of_every_class_have_tests_that_exist_or_a_reason() {
    let page = read("docs/verification.md");
    let Some((_, section)) = page.split_once("## Attacks that other tools fell to") else {
        return assert!(page.is_empty(), "the section of attacks is gone");
    };
    let section = section.split("\n## ").next().expect("it has a first part");
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"))
        .skip(1)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    // Each group is numbered without a gap, and none ends before these, which are known.
    let mut last = BTreeMap::new();
    for row in &rows {
        let (group, number) = row[0].split_at(1);
        let number = number.parse::<u32>().expect("a class is a letter and a number");
        assert_eq!(
            last.insert(group, number).unwrap_or(0) + 1,
            number,
            "{} is out of order",
            row[0]
        );
    }
    let known = [("A", 6), ("B", 6), ("C", 7), ("D", 6), ("E", 8), ("F", 7), ("G", 8)];
    assert!(last.keys().copied().eq(known.map(|(group, _)| group)), "groups are {:?}", last.keys());
    assert!(
        known.iter().all(|(group, least)| last[group] >= *least),
        "a class is missing: {last:?}"
    );
    for row in rows {
        let (class, cell) = (row[0], row[2]);
        assert!(!cell.is_empty(), "{class} has neither tests nor a reason");
        let mut text = None;
        for word in cell.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                let found = read(word);
                assert!(!found.is_empty(), "{class}: there is no {word}");
                text = Some(found);
            } else if let Some(text) = &text {
                assert!(has_test(text, word), "{class}: there is no test {word}");
            }
        }
    }
}

/// The layers, from the ground up, and what each may use of this crate.
const LAYERS: [(&str, &[&str]); 9] = [
    ("hash", &[]),
    ("types", &["hash"]),
    ("config", &["hash", "types"]),
    ("proto", &["hash", "types", "config"]),
    ("error", &["types", "proto"]),
    ("store", &["hash", "types", "config"]),
    ("transport", &["types"]),
    ("plain", &["hash", "types", "error"]),
    ("drive", &["hash", "types", "config", "proto", "error", "store", "transport"]),
];

/// Returns the modules of a file that are compiled for tests alone.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().zip(text.lines().skip(1));
    lines.filter(|(cfg, _)| cfg.starts_with("#[cfg(") && cfg.contains("test")).filter_map(
        |(_, line)| line.split_once("mod ").map(|(_, name)| name.trim_end_matches([';', '{', ' '])),
    )
}

/// Returns what a line names of the root of the crate, in a file whose module is so many levels
/// below it.
fn named_of_root(line: &str, depth: usize) -> impl Iterator<Item = &str> {
    let up = "super::".repeat(depth);
    let code = line.split("//").next().unwrap_or_default();
    let after = |start: &str| code.find(start).map(|at| &code[at + start.len()..]);
    let rest = [after("crate::"), after(&up).filter(|rest| !rest.starts_with("super"))];
    rest.into_iter().flatten().map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// A layer knows nothing of those above it. What is compiled for tests alone may use everything.
#[test]
fn layers_use_nothing_but_what_is_below_them() {
    let files = rust_files(&["src"]);
    let for_tests: BTreeSet<String> = files
        .iter()
        .flat_map(|(path, text)| {
            let folder = path.trim_end_matches(".rs").trim_end_matches("/mod");
            test_modules(text).map(move |name| format!("{folder}/{name}"))
        })
        .collect();
    for (path, text) in &files {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let parts: Vec<_> = module.split('/').skip(1).collect();
        let Some((layer, below)) = LAYERS.iter().find(|(layer, _)| parts[0] == *layer) else {
            continue;
        };
        if for_tests.iter().any(|test| format!("{module}/").starts_with(&format!("{test}/"))) {
            continue;
        }
        let own = text.split("\nmod tests {").next().unwrap_or_default();
        for line in own.lines() {
            for name in named_of_root(line, parts.len()) {
                assert!(name == *layer || below.contains(&name), "{path}: {line}");
            }
        }
    }
}

/// Returns the paths that a list of imports names, each in its parts: what stands in braces is one path each.
fn paths_of(import: &str) -> Vec<String> {
    let Some((start, rest)) = import.split_once('{') else { return vec![import.trim().to_owned()] };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut paths) = (0, Vec::new());
    let parts = inner.split(|c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    for part in parts.filter(|part| !part.trim().is_empty()) {
        paths.extend(paths_of(part).iter().map(|path| format!("{}{path}", start.trim())));
    }
    paths
}

/// Returns the module that an import of a module names: the longest one that begins it.
fn module_named<'m>(
    modules: &BTreeMap<Vec<&'m str>, String>,
    of: &[&'m str],
    path: &'m str,
) -> Option<Vec<&'m str>> {
    let mut place = of.to_vec();
    let mut parts = path.split("::").peekable();
    match parts.peek() {
        Some(&"crate") => place.clear(),
        Some(&("super" | "self")) => {}
        _ => return None,
    }
    for part in parts {
        match part {
            "crate" | "self" => {}
            "super" => drop(place.pop()),
            part => place.push(part),
        }
    }
    while !place.is_empty() && !modules.contains_key(&place) {
        place.pop();
    }
    (!place.is_empty() && place != of).then_some(place)
}

/// Two files that use one another are one thing in two places. What is compiled for tests alone may.
#[test]
fn files_use_one_another_in_no_circle() {
    let files = rust_files(&["src"]);
    let mut modules = BTreeMap::new();
    let mut for_tests = BTreeSet::new();
    for (path, text) in &files {
        let folder = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let module: Vec<_> = folder.split('/').skip(1).collect();
        let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code: Vec<_> = own.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        for_tests.extend(test_modules(text).map(|name| format!("{folder}/{name}/")));
        modules.insert(module, (format!("{folder}/"), code.join("\n")));
    }
    modules.retain(|module, (folder, _)| {
        module[0] != "bin" && !for_tests.iter().any(|test| folder.starts_with(test))
    });
    let codes: BTreeMap<_, _> =
        modules.into_iter().map(|(module, (_, code))| (module, code)).collect();
    let mut uses: BTreeMap<&Vec<&str>, BTreeSet<Vec<&str>>> = BTreeMap::new();
    let imports: Vec<_> = codes
        .iter()
        .flat_map(|(module, code)| {
            let lists = code.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
            let paths = lists.flat_map(paths_of).filter(|path| !path.contains("::tests"));
            paths.map(move |path| (module, path))
        })
        .collect();
    for (module, path) in &imports {
        uses.entry(module).or_default().extend(module_named(&codes, module, path));
    }
    // Whoever uses none of those that are left is in no circle.
    loop {
        let left: BTreeSet<_> = uses.keys().map(|module| (*module).clone()).collect();
        uses.retain(|_, used| used.iter().any(|used| left.contains(used)));
        if uses.len() == left.len() {
            break;
        }
    }
    assert!(uses.is_empty(), "{uses:#?}");
    assert!(files.is_empty() || imports.len() > 500, "{}", imports.len());
}
