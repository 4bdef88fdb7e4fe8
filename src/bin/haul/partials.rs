//! `haul partials`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use haul::store::fs::Partials;

use crate::args;
use crate::exit::{Code, Stop};
use crate::explain::{self, shown};
use crate::figures::{self, count};
use crate::help::print;
use crate::report::{Record, Reporter};

pub(crate) fn run(args: &args::Partials, reporter: &Reporter) -> Result<Code, Stop> {
    let folder = args.folder.as_deref().unwrap_or(Path::new("."));
    let partials =
        Partials::below(folder).map_err(|error| Stop::new(Code::Local, explain::system(&error)))?;
    let now = SystemTime::now();
    let (mut code, mut text) = (Code::Done, String::new());
    let (mut files, mut disk, mut kept, mut stuck) = (0, 0_u64, 0, 0);
    for partial in partials {
        let partial = match partial {
            Ok(partial) => partial,
            Err(error) => {
                let text = format!("cannot look into {}", explain::system(&error));
                reporter.stop(&Stop::new(Code::Local, text));
                code = Code::Local;
                continue;
            }
        };
        let age = partial.age(now);
        if args.older_than.is_some_and(|least| age < least) {
            continue;
        }
        let in_use = partial.is_in_use();
        let (size, taken) = (partial.size(), partial.allocated());
        let path = shown(&folder.join(partial.path()));
        let mark = if in_use { "  in use" } else { "" };
        text += &format!("{:>9}  {:>6}  {path}{mark}\n", figures::size(size), old(age));
        let removed = args.purge && !in_use && partial.remove();
        if args.purge && !removed {
            kept += 1;
            if !in_use {
                let text = "it changed meanwhile, or this user may not";
                reporter.complain(&format!("cannot remove {path}: {text}"));
                (code, stuck) = (Code::Local, stuck + 1);
            }
        } else {
            (files, disk) = (files + 1, disk.saturating_add(taken));
        }
        let (path, age) = (&path, age.as_secs());
        let record = Record::Partial { path, size, disk: taken, age, in_use, removed };
        reporter.record(&record, None);
    }
    if args.json {
        reporter.record(&Record::Partials { files, disk, kept }, None);
        return Ok(code);
    }
    let what = if args.purge { " removed" } else { "" };
    let stay = match kept - stuck {
        0 => String::new(),
        used => format!("; {used} in use, which stay"),
    };
    text += &match (files, kept) {
        (0, 0) => "no partial files\n".to_owned(),
        _ => {
            let (count, size) = (count(files, "partial file"), figures::size(disk));
            format!("{count}{what}, {size} on the disk{stay}\n")
        }
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
