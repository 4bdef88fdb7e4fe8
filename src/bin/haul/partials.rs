//! `haul partials`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use haul::store::fs::Partials;

use crate::args;
use crate::exit::{Code, Stop};
use crate::explain::{self, shown};
use crate::figures::{count, size};
use crate::help::print;
use crate::report::Reporter;

pub(crate) fn run(args: &args::Partials, reporter: &Reporter) -> Result<Code, Stop> {
    let folder = args.folder.as_deref().unwrap_or(Path::new("."));
    let partials =
        Partials::below(folder).map_err(|error| Stop::new(Code::Local, explain::system(&error)))?;
    let now = SystemTime::now();
    let (mut code, mut text) = (Code::Done, String::new());
    let (mut files, mut bytes, mut kept) = (0, 0_u64, 0);
    for partial in partials {
        let partial = match partial {
            Ok(partial) => partial,
            Err(error) => {
                reporter.complain(&format!("cannot look into {}", explain::system(&error)));
                code = Code::Local;
                continue;
            }
        };
        let age = partial.age(now);
        if args.older_than.is_some_and(|least| age < least) {
            continue;
        }
        let is_in_use = partial.is_in_use();
        let mark = if is_in_use { "  in use" } else { "" };
        let (taken, path) = (partial.allocated(), shown(&folder.join(partial.path())));
        text += &format!("{:>9}  {:>6}  {path}{mark}\n", size(partial.size()), old(age));
        if args.purge && (is_in_use || !partial.remove()) {
            kept += 1;
            continue;
        }
        (files, bytes) = (files + 1, bytes.saturating_add(taken));
    }
    let what = if args.purge { " removed" } else { "" };
    let stay =
        if kept > 0 { format!("; {kept} in use, or not to be removed") } else { String::new() };
    text += &match (files, kept) {
        (0, 0) => "no partial files\n".to_owned(),
        _ => format!("{}{what}, {} on the disk{stay}\n", count(files, "partial file"), size(bytes)),
    };
    print(text.as_bytes()).map(|printed| printed.and(code))
}

/// Formats an age by its largest unit.
fn old(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit);
    unit.map_or_else(|| format!("{seconds} s"), |(unit, name)| format!("{} {name}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_in_its_largest_unit() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (700_000, "8 d")]
        {
            assert_eq!(old(Duration::from_secs(seconds)), text);
        }
    }
}
