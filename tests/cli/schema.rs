//! The page about `--json`, held against every line that a test reads.

use std::collections::BTreeMap;
use std::panic;

use serde_json::{Map, Value, json};

/// Fields by name, each with its type.
type Fields = BTreeMap<&'static str, &'static str>;

/// Checks that an event is as the page says, and returns it without its version.
#[track_caller]
pub(crate) fn checked(event: Value) -> Value {
    let Value::Object(mut fields) = event else { panic!("{event} is no object") };
    check(&fields);
    fields.remove("v");
    Value::Object(fields)
}

#[track_caller]
fn check(found: &Map<String, Value>) {
    let page = page();
    let name = found.get("event").and_then(Value::as_str).expect("an event has a name");
    let fields = page.get(name).unwrap_or_else(|| panic!("{name} is not on the page"));
    let all = || fields.iter().chain(&page[EVERY]);
    for (field, value) in found {
        let (_, kind) = all()
            .find(|(known, _)| *known == field)
            .unwrap_or_else(|| panic!("{field} of {name} is not on the page"));
        assert!(is_of(kind, value), "{field} of {name} is {value}, and no {kind}");
    }
    let missing =
        all().find(|(field, kind)| !kind.ends_with(", optional") && !found.contains_key(**field));
    assert_eq!(missing, None, "{name} lacks a field");
    assert_eq!(found["v"], 1);
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind.trim_end_matches(", optional") {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "integer or null" => value.is_u64() || value.is_null(),
        "number" => value.is_number(),
        other => panic!("the page names a type that nobody knows: {other}"),
    }
}

/// Events by name, and [`EVERY`] for the fields of all.
fn page() -> BTreeMap<&'static str, Fields> {
    let mut page = BTreeMap::new();
    let mut event = EVERY;
    for line in include_str!("../../docs/json.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            event = name.trim_matches('`');
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split(" | ");
            let field = cells.next().expect("a row has a name").trim_end_matches('`');
            let kind = cells.next().expect("a row has a type");
            let fields: &mut Fields = page.entry(event).or_default();
            assert_eq!(fields.insert(field, kind), None, "{field} of {event} stands there twice");
        }
    }
    page
}

const EVERY: &str = "in every line";

#[test]
fn page_about_json_names_every_event_that_the_command_writes() {
    // The names of the variants, as serde writes them.
    let report = include_str!("../../src/bin/haul/report.rs");
    let (_, records) = report.split_once("enum Record<'a> {\n").expect("it stands there");
    let (records, _) = records.split_once("\n}\n").expect("it ends");
    let names = records.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?;
        let end = name.find(|c: char| !c.is_ascii_alphabetic())?;
        name.starts_with(|c: char| c.is_ascii_uppercase()).then(|| name[..end].to_lowercase())
    });
    let names: Vec<String> = names.collect();
    let page = page();
    assert!(names.len() >= 15, "{names:?}");
    for name in &names {
        assert!(page.contains_key(name.as_str()), "{name} is not on the page");
    }
    assert_eq!(page.len(), names.len() + 1, "the page has more than there is");
}

#[test]
fn line_that_is_not_as_the_page_says_fails() {
    let good = json!({"v": 1, "event": "offered", "path": "a", "size": null, "session": 1});
    checked(good.clone());
    for (field, value) in [
        ("v", Some(json!(2))),
        ("v", None),
        ("event", Some(json!("offer"))),
        ("path", None),
        ("path", Some(json!(1))),
        ("size", None),
        ("size", Some(json!("1"))),
        ("size", Some(json!(-1))),
        ("session", Some(Value::Null)),
        ("other", Some(json!(1))),
    ] {
        let mut bad = good.clone();
        let fields = bad.as_object_mut().unwrap();
        match value {
            Some(value) => drop(fields.insert(field.to_owned(), value)),
            None => drop(fields.remove(field)),
        }
        let is_found = panic::catch_unwind(|| checked(bad.clone())).is_err();
        assert!(is_found, "{bad}");
    }
}
