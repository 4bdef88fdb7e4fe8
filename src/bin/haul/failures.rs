//! Lists of entries that are refused or not sent, for people and for programs.

use haul::RelPath;
use haul::types::Refusal;

use crate::explain::short;
use crate::quota::{Quota, Reader};

/// Entries that a peer had refused or took back: it chooses how many, and their names.
pub(crate) struct Failures {
    /// All so far.
    count: u64,
    told: Listed,
    /// Those that others were told for.
    grouped: u64,
    recorded: Listed,
    /// Quota that is left for the address of the peer, where it matters.
    quota: Option<Quota>,
    /// A line that waits for others that have the same cause.
    group: Option<Group>,
    /// The first that were told, for after the sum.
    first: Vec<String>,
}

/// Number of them that are listed for people, or for programs.
#[derive(Debug, Clone, Copy)]
struct Listed {
    most: u64,
    count: u64,
}

/// An entry, and how many others failed for the same cause.
struct Group {
    text: String,
    /// The folder that they have in common.
    folder: RelPath,
    /// Set if that folder itself failed.
    is_folder: bool,
    reason: Refusal,
    others: u64,
}

/// An entry that failed in a way in which others may fail with it.
pub(crate) struct Failed<'a> {
    pub(crate) path: &'a RelPath,
    pub(crate) is_folder: bool,
    pub(crate) reason: Refusal,
}

impl Failures {
    /// Lists no more than `entries` for programs, and the first few for people; of a server, over all sessions of an address
    /// by a `quota`.
    pub(crate) const fn new(entries: u64, quota: Option<Quota>) -> Self {
        let (told, recorded) = (Listed::at_most(LISTED), Listed::at_most(entries));
        Self { count: 0, told, grouped: 0, recorded, quota, group: None, first: Vec::new() }
    }

    /// Lists all.
    pub(crate) fn all() -> Self {
        Self { told: Listed::at_most(u64::MAX), ..Self::new(u64::MAX, None) }
    }

    /// Takes one more, whose record has a name of this length. Returns whether programs are told.
    pub(crate) fn record(&mut self, path: &str) -> bool {
        self.count = self.count.saturating_add(1);
        self.lists(Reader::Programs, cost(path))
    }

    /// Takes the text of the same one, for people. Returns what is to be said now.
    pub(crate) fn tell(&mut self, failed: Option<Failed<'_>>, text: String) -> Vec<String> {
        if let (Some(group), Some(failed)) = (&mut self.group, &failed)
            && group.takes(failed, &text)
        {
            self.grouped = self.grouped.saturating_add(1);
            return Vec::new();
        }
        let mut said: Vec<String> = self.close().into_iter().collect();
        if !self.lists(Reader::People, cost(&text)) {
            return said;
        }
        match failed.and_then(|failed| Group::new(&failed, &text)) {
            Some(group) => self.group = Some(group),
            None => {
                self.keep(&text);
                said.push(text);
            }
        }
        said
    }

    /// Takes the line that is still to be said, once nothing more fails for the same cause.
    pub(crate) fn close(&mut self) -> Option<String> {
        let Group { text, folder, is_folder, others, .. } = self.group.take()?;
        let text = match (others, is_folder) {
            (0, _) => text,
            (others, true) => format!("{text}; and {others} below it"),
            (others, false) => format!("{text}; and {others} more in {}", short(&folder)),
        };
        self.keep(&text);
        Some(text)
    }

    /// Returns how many were not told, and how many not recorded.
    pub(crate) const fn unlisted(&self) -> (u64, u64) {
        let told = self.told.count.saturating_add(self.grouped);
        (self.count.saturating_sub(told), self.count.saturating_sub(self.recorded.count))
    }

    /// Returns the first that were told.
    pub(crate) fn first(&self) -> &[String] {
        &self.first
    }

    /// Returns what a line takes from the quota of its peer, if it may be written.
    pub(crate) fn spend(&self, text: &str) -> Option<usize> {
        let bytes = cost(text);
        let may = self.quota.as_ref().is_none_or(|quota| quota.spend(Reader::Programs, bytes));
        may.then_some(bytes)
    }

    /// Gives back what a line took, as the entry is no burden.
    pub(crate) fn give_back(&self, spent: usize) {
        if let Some(quota) = &self.quota {
            quota.give_back(Reader::Programs, spent);
        }
    }

    fn keep(&mut self, text: &str) {
        if self.first.len() < REPEATED {
            self.first.push(text.to_owned());
        }
    }

    /// Returns whether one more is listed.
    fn lists(&mut self, reader: Reader, bytes: usize) -> bool {
        let listed = match reader {
            Reader::People => &mut self.told,
            Reader::Programs => &mut self.recorded,
        };
        let may = listed.count < listed.most
            && self.quota.as_ref().is_none_or(|quota| quota.spend(reader, bytes));
        listed.count += u64::from(may);
        may
    }
}

impl Listed {
    const fn at_most(most: u64) -> Self {
        Self { most, count: 0 }
    }
}

impl Group {
    /// Begins a group with its first, if others may come; not at the top, where nothing is common to all.
    fn new(failed: &Failed<'_>, text: &str) -> Option<Self> {
        let Failed { path, is_folder, reason } = *failed;
        let folder = if is_folder { path.clone() } else { parent(path)? };
        Some(Self { text: text.to_owned(), folder, is_folder, reason, others: 0 })
    }

    /// Takes one more in, if it has the same cause.
    fn takes(&mut self, failed: &Failed<'_>, text: &str) -> bool {
        if failed.reason != self.reason {
            return false;
        }
        if !is_below(failed.path, &self.folder) {
            // A folder is settled after what is below it.
            let is_cause = failed.is_folder && !self.is_folder && *failed.path == self.folder;
            if !is_cause {
                return false;
            }
            (self.text, self.is_folder) = (text.to_owned(), true);
        }
        self.others = self.others.saturating_add(1);
        true
    }
}

/// Returns the folder of an entry, unless that is the one that is received into.
fn parent(path: &RelPath) -> Option<RelPath> {
    let bytes = path.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/')?;
    RelPath::parse(&bytes[..end]).ok()
}

fn is_below(path: &RelPath, folder: &RelPath) -> bool {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// Returns about how many bytes a line takes with this in it.
const fn cost(text: &str) -> usize {
    text.len().saturating_add(LINE)
}

/// Bytes of a line beside a name.
const LINE: usize = 100;

/// Number of entries, refused or not sent, that are listed by name for a person.
const LISTED: u64 = 20;

/// Number of them that are said again after the sum.
const REPEATED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::parse(name.as_bytes()).unwrap()
    }

    fn tell(failures: &mut Failures, name: &str, is_folder: bool) -> Vec<String> {
        failures.record(name);
        let path = path(name);
        let failed = Failed { path: &path, is_folder, reason: Refusal::KindClash };
        failures.tell(Some(failed), format!("{name} is refused"))
    }

    #[test]
    fn failures_below_a_folder_are_one_line_with_it() {
        for is_first in [true, false] {
            let mut failures = Failures::new(1000, None);
            if is_first {
                assert!(tell(&mut failures, "t/d", true).is_empty());
            }
            for number in 0..50 {
                assert!(tell(&mut failures, &format!("t/d/{number}"), false).is_empty());
            }
            if !is_first {
                assert!(tell(&mut failures, "t/d", true).is_empty());
            }
            assert_eq!(tell(&mut failures, "t/e/1", false), ["t/d is refused; and 50 below it"]);
            assert!(tell(&mut failures, "t/e/2", false).is_empty());
            assert_eq!(failures.close().as_deref(), Some("t/e/1 is refused; and 1 more in t/e"));
            assert_eq!(failures.close(), None);
            assert_eq!(tell(&mut failures, "x", false), ["x is refused"]);
            assert_eq!(failures.unlisted(), (0, 0));
            assert_eq!(failures.first().len(), 3);
        }
    }

    #[test]
    fn failures_beyond_a_number_are_counted() {
        let mut failures = Failures::new(5, None);
        let said = (0..100).flat_map(|number| tell(&mut failures, &number.to_string(), false));
        assert_eq!(said.count() as u64, LISTED);
        assert_eq!(failures.unlisted(), (100 - LISTED, 95));
        assert_eq!(failures.first().len(), REPEATED);
    }
}
