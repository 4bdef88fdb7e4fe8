//! Commands of `--then` that are to run: few in memory, and more than these in a file that has no name.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

/// A command that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Path that `{}` stands for.
    pub(crate) place: OsString,
    /// Facts, each by its number in [`FACTS`].
    pub(crate) facts: Vec<(u8, OsString)>,
}

/// Names of all facts that a command may have in its environment.
pub(crate) const FACTS: [&str; 17] = [
    "HAUL_EVENT",
    "HAUL_FILE",
    "HAUL_NAME",
    "HAUL_SIZE",
    "HAUL_BLAKE3",
    "HAUL_DURABILITY",
    "HAUL_OUTCOME",
    "HAUL_FILES",
    "HAUL_BYTES",
    "HAUL_SKIPPED",
    "HAUL_REFUSED",
    "HAUL_WITHDRAWN",
    "HAUL_CODE",
    "HAUL_FOLDER",
    "HAUL_PEER",
    "HAUL_KEY",
    "HAUL_PEER_NAME",
];

/// Queue of commands, in the order in which they came. It keeps no session waiting, and takes no more memory than
/// [`IN_MEMORY`] of them do, however slow the commands are.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Those that run first. Invariant: at most [`IN_MEMORY`].
    first: VecDeque<Job>,
    /// The rest, behind each other from `read` to `written`, each after its length.
    rest: Option<File>,
    read: u64,
    written: u64,
    /// Number of those in the file.
    filed: u64,
}

impl Jobs {
    /// Adds one at the end.
    ///
    /// # Errors
    ///
    /// It cannot be kept in the file, or there are too many: it is not added.
    pub(crate) fn push(&mut self, job: Job) -> io::Result<()> {
        if self.filed == 0 && self.first.len() < IN_MEMORY {
            self.first.push_back(job);
            return Ok(());
        }
        let bytes = job.to_bytes();
        let end = self.written + bytes.len() as u64;
        if end > IN_FILE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let rest = match &mut self.rest {
            Some(rest) => rest,
            None => self.rest.insert(tempfile::tempfile()?),
        };
        rest.write_all_at(&bytes, self.written)?;
        (self.written, self.filed) = (end, self.filed + 1);
        Ok(())
    }

    /// Takes the first one.
    ///
    /// # Errors
    ///
    /// The file cannot be read: all that stood in it is lost. The number of these is in the error.
    pub(crate) fn pop(&mut self) -> Result<Option<Job>, Lost> {
        if self.first.is_empty() && self.filed > 0 {
            self.refill().map_err(|error| {
                // What follows in the file cannot be told apart any more.
                (self.read, self.written) = (0, 0);
                Lost { count: std::mem::take(&mut self.filed), error }
            })?;
        }
        Ok(self.first.pop_front())
    }

    pub(crate) fn len(&self) -> u64 {
        self.filed + self.first.len() as u64
    }

    /// Reads from the file what the memory has room for, and makes the file empty once all is read.
    fn refill(&mut self) -> io::Result<()> {
        let Some(rest) = &self.rest else { return Ok(()) };
        while self.filed > 0 && self.first.len() < IN_MEMORY {
            let mut len = [0; 4];
            rest.read_exact_at(&mut len, self.read)?;
            let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
            rest.read_exact_at(&mut bytes, self.read + 4)?;
            self.first.push_back(Job::from_bytes(&bytes));
            (self.read, self.filed) = (self.read + 4 + bytes.len() as u64, self.filed - 1);
        }
        if self.filed == 0 {
            (self.read, self.written) = (0, 0);
            rest.set_len(0)?;
        }
        Ok(())
    }
}

/// Commands that are lost, with the file that they stood in.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) count: u64,
    pub(crate) error: io::Error,
}

impl Job {
    pub(crate) fn new(place: OsString, facts: Vec<(&'static str, OsString)>) -> Self {
        let number = |name| FACTS.iter().position(|fact| *fact == name);
        let numbered = facts.into_iter().filter_map(|(name, value)| {
            let number = u8::try_from(number(name)?).ok()?;
            Some((number, value))
        });
        Self { place, facts: numbered.collect() }
    }

    /// Returns the facts by their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.facts.iter().filter_map(|(number, value)| {
            Some((*FACTS.get(usize::from(*number))?, value.as_os_str()))
        })
    }

    /// Returns the length of the rest, the place, and each number with its fact: texts of an environment hold no NUL, so
    /// that one ends each of them.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        let mut add = |text: &OsStr| {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        };
        add(&self.place);
        for (number, value) in &self.facts {
            // No NUL either.
            add(OsStr::from_bytes(&[number + 1]));
            add(value);
        }
        let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let mut texts = bytes.split(|byte| *byte == 0);
        let place = texts.next().map(text).unwrap_or_default();
        let mut facts = Vec::new();
        while let (Some([number]), Some(value)) = (texts.next(), texts.next()) {
            facts.push((number.wrapping_sub(1), text(value)));
        }
        Self { place, facts }
    }
}

/// Most commands that wait in memory: a few MiB.
const IN_MEMORY: usize = 4096;

/// Longest that the file may be: some three million commands.
const IN_FILE: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> Job {
        let name = if number.is_multiple_of(3) { vec![0xff, b'\n'] } else { Vec::new() };
        let facts = vec![
            ("HAUL_EVENT", "received".into()),
            ("HAUL_NAME", OsString::from_vec(name)),
            ("HAUL_PEER_NAME", number.to_string().into()),
        ];
        Job::new(format!("/a b/{number}").into(), facts)
    }

    #[test]
    fn jobs_come_in_their_order_however_many_wait() {
        let mut jobs = Jobs::default();
        let (mut pushed, mut popped) = (0, 0);
        // The queue grows beyond the memory, shrinks into it, and ends empty, again and again.
        for (push, pop) in
            [(1, 1), (5000, 100), (4000, 8000), (9000, 3000), (10, 6910), (4097, 4097)]
        {
            for _ in 0..push {
                jobs.push(job(pushed)).unwrap();
                pushed += 1;
            }
            for _ in 0..pop {
                let next = jobs.pop().unwrap();
                assert!(next == Some(job(popped)), "{popped}: {next:?}");
                popped += 1;
                assert_eq!(jobs.len(), pushed - popped);
                assert!(jobs.first.len() <= IN_MEMORY);
            }
        }
        assert!(jobs.len() == 0 && jobs.pop().unwrap().is_none());
        let file = jobs.rest.unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0, "what was read of it takes no space");
    }

    #[test]
    fn jobs_in_a_file_that_is_cut_are_lost_and_counted() {
        let mut jobs = Jobs::default();
        let all = IN_MEMORY as u64 + 3;
        (0..all).for_each(|number| jobs.push(job(number)).unwrap());
        jobs.rest.as_ref().unwrap().set_len(jobs.written - 1).unwrap();
        let in_memory = 0..IN_MEMORY as u64;
        in_memory.for_each(|number| assert_eq!(jobs.pop().unwrap(), Some(job(number))));
        assert_eq!(jobs.pop().unwrap_err().count, 1);
        let rest = [jobs.pop().unwrap(), jobs.pop().unwrap(), jobs.pop().unwrap()];
        assert_eq!(rest, [Some(job(all - 3)), Some(job(all - 2)), None], "what was read is there");
        assert_eq!(jobs.len(), 0);
        // From then on the file is used as if it were new.
        (0..all).for_each(|number| jobs.push(job(number)).unwrap());
        (0..all).for_each(|number| assert_eq!(jobs.pop().unwrap(), Some(job(number))));
    }
}
