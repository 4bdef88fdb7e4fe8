//! Selection of the entries below a PATH that are sent: `--include`, `--exclude` and `--ignore-files`.
//!
//! The rules are those of gitignore, as the crate `ignore` has them. A pattern of `--exclude` is relative to the PATH,
//! one of an ignore file to the folder that it stands in. Where several match, `--exclude` counts before ignore files, a
//! deeper folder before those above it, `.ignore` before `.gitignore`, and a later pattern before earlier ones. Of what
//! these leave, `--include` takes what matches, or is below a folder that does, and nothing else. What is
//! below an excluded folder is not looked at, so nothing below it can be included again.
//!
//! Where an ignore file cannot be honoured as a whole, nothing in its folder is sent: what it would leave out, such as
//! keys, must not travel because it could not be read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haul::store::fs::{Candidate, CandidateKind};
use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use crate::explain::{self, shown};
use crate::report::{Record, Reporter};

/// Filter for the entries that the walk finds.
pub(crate) struct Filter {
    exclude: Gitignore,
    /// Patterns of which one must match; `None` where there are none.
    include: Option<Gitignore>,
    ignore_files: Option<IgnoreFiles>,
}

/// The ignore files from the PATH down to the folder that the walk is in.
struct IgnoreFiles {
    /// The paths that were given, for messages.
    paths: Vec<PathBuf>,
    root: usize,
    levels: Vec<Level>,
    reporter: Arc<Reporter>,
    failed: Arc<AtomicBool>,
}

/// The ignore files of one folder.
struct Level {
    /// The folder, relative to the PATH.
    folder: PathBuf,
    /// Ignore files, of which those that count first stand first; `None` if one of them cannot be
    /// honoured.
    files: Option<Vec<Gitignore>>,
}

impl Filter {
    /// Creates a filter with the patterns of `--exclude` and `--include`; the error names the one that is wrong.
    pub(crate) fn new(exclude: &[String], include: &[String]) -> Result<Self, String> {
        if let Some(pattern) = include.iter().find(|pattern| pattern.starts_with('!')) {
            return Err(format!("invalid --include '{pattern}': leave things out with --exclude"));
        }
        if !include.is_empty() && exclude.iter().any(|pattern| ALL.contains(&pattern.as_str())) {
            return Err(
                "with --include all else is left out in any case: give no --exclude for that"
                    .into(),
            );
        }
        let exclude = compile("--exclude", exclude)?;
        let include = (!include.is_empty()).then(|| compile("--include", include)).transpose()?;
        Ok(Self { exclude, include, ignore_files: None })
    }

    /// Honours the ignore files below these paths too. `failed` is set where one cannot be read.
    pub(crate) fn with_ignore_files(
        mut self,
        paths: Vec<PathBuf>,
        reporter: Arc<Reporter>,
        failed: Arc<AtomicBool>,
    ) -> Self {
        let levels = Vec::new();
        self.ignore_files = Some(IgnoreFiles { paths, root: 0, levels, reporter, failed });
        self
    }

    /// Returns whether it is sent.
    pub(crate) fn admits(&mut self, found: &Candidate<'_>) -> bool {
        let path = Path::new(OsStr::from_bytes(found.path()));
        let is_folder = found.kind() == CandidateKind::Directory;
        if let Some(files) = &mut self.ignore_files {
            files.enter(found.root(), path.parent().unwrap_or(Path::new("")), found.folder());
        }
        if self.ignore_files.as_ref().is_some_and(IgnoreFiles::is_closed) {
            return false;
        }
        let is_left = match self.exclude.matched(path, is_folder) {
            Match::Ignore(_) => false,
            Match::Whitelist(_) => true,
            Match::None => {
                self.ignore_files.as_ref().is_none_or(|files| files.admit(path, is_folder))
            }
        };
        // Of a folder, what is below it may be wanted.
        is_left && (is_folder || self.includes(path, false))
    }

    /// Returns whether a name is sent that stands in a list, so that no walk has asked about the folders on the way to it.
    pub(crate) fn admits_listed(&self, name: &Path, is_folder: bool) -> bool {
        let is_left = !self.exclude.matched_path_or_any_parents(name, is_folder).is_ignore();
        is_left && self.includes(name, is_folder)
    }

    fn includes(&self, path: &Path, is_folder: bool) -> bool {
        let includes =
            |include: &Gitignore| include.matched_path_or_any_parents(path, is_folder).is_ignore();
        self.include.as_ref().is_none_or(includes)
    }
}

impl IgnoreFiles {
    /// Takes note that the walk is in this folder: it goes down one level at a time, and up any
    /// number of them.
    fn enter(&mut self, root: usize, folder: &Path, handle: BorrowedFd<'_>) {
        if root != self.root {
            (self.root, self.levels) = (root, Vec::new());
        }
        while self.levels.last().is_some_and(|level| !folder.starts_with(&level.folder)) {
            self.levels.pop();
        }
        if self.levels.last().is_none_or(|level| level.folder != folder) {
            let files: Vec<_> = NAMES.iter().map(|name| self.load(folder, name, handle)).collect();
            let files = files.into_iter().collect::<Option<Vec<_>>>();
            let files = files.map(|files| files.into_iter().flatten().collect());
            self.levels.push(Level { folder: folder.into(), files });
        }
    }

    /// Returns whether nothing is sent of the folder that the walk is in.
    fn is_closed(&self) -> bool {
        self.levels.iter().any(|level| level.files.is_none())
    }

    fn admit(&self, path: &Path, is_folder: bool) -> bool {
        for level in self.levels.iter().rev() {
            let below = path.strip_prefix(&level.folder).unwrap_or(path);
            for file in level.files.iter().flatten() {
                match file.matched(below, is_folder) {
                    Match::Ignore(_) => return false,
                    Match::Whitelist(_) => return true,
                    Match::None => {}
                }
            }
        }
        true
    }

    /// Returns the content of an ignore file, if there is one; `None` if it cannot be honoured,
    /// which is reported.
    fn load(&self, folder: &Path, name: &str, handle: BorrowedFd<'_>) -> Option<Option<Gitignore>> {
        let parsed = read(handle, name)
            .map_err(|error| explain::system(&error))
            .and_then(|bytes| bytes.map(|bytes| parse(&bytes)).transpose());
        parsed.map_err(|what| self.close(folder, name, &what)).ok()
    }

    fn close(&self, folder: &Path, name: &str, what: &str) {
        self.failed.store(true, Ordering::Relaxed);
        let root = self.paths.get(self.root).map(PathBuf::as_path).unwrap_or(Path::new(""));
        // The components anew: without the slash that joining nothing leaves.
        let folder: PathBuf = root.join(folder).components().collect();
        let reason = format!("{name} cannot be honoured: {what}");
        let shown = shown(&folder);
        self.reporter.record(&Record::Withdrawn { path: &shown, reason: &reason }, None);
        self.reporter.complain(&format!("nothing in {shown} is sent: {reason}"));
    }
}

/// Compiles the patterns of an option; the error names the one that is wrong.
fn compile(option: &str, patterns: &[String]) -> Result<Gitignore, String> {
    let mut builder = builder();
    for (index, pattern) in patterns.iter().enumerate() {
        let wrong = |what: &str| format!("invalid {option} '{pattern}': {what}");
        let blank = pattern.trim().is_empty();
        if blank || pattern.starts_with('#') {
            return Err(wrong(if blank {
                "it is empty"
            } else {
                "write \\# for a name that begins with #"
            }));
        }
        builder.add_line(None, pattern).map_err(|error| wrong(&error.to_string()))?;
        let built = builder.build().map_err(|error| wrong(&error.to_string()))?;
        if built.len() <= index {
            return Err(wrong("it matches nothing"));
        }
    }
    builder.build().map_err(|error| error.to_string())
}

/// Parses all of an ignore file; the error is what is wrong with it.
fn parse(bytes: &[u8]) -> Result<Gitignore, String> {
    let mut builder = builder();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    for (number, line) in (1_u64..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let wrong = |what: &str| format!("line {number}: {what}");
        let line = std::str::from_utf8(line).map_err(|_| wrong("it is not UTF-8"))?;
        builder.add_line(None, line).map_err(|error| wrong(&error.to_string()))?;
    }
    builder.build().map_err(|error| error.to_string())
}

fn builder() -> GitignoreBuilder {
    let mut builder = GitignoreBuilder::new("");
    // "a[" is a mistake that somebody wants to know of.
    builder.allow_unclosed_class(false);
    builder
}

/// Reads an ignore file, if there is one. A link is not followed: it may lead out of the tree.
fn read(folder: BorrowedFd<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
    // Not blocking, should it be a FIFO.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(io::Error::other("it is a link")),
        Err(errno) => return Err(errno.into()),
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(Some(bytes))
}

/// Patterns that match everything.
const ALL: [&str; 3] = ["*", "**", "/**"];

/// Names of ignore files, of which those that count first stand first.
const NAMES: [&str; 2] = [".ignore", ".gitignore"];

/// Largest ignore file, in bytes, so that memory does not depend on what lies in the tree.
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use haul::Source;
    use haul::store::fs::FsSource;
    use proptest::prelude::*;

    use super::*;
    use crate::args::Output;

    fn quiet() -> Arc<Reporter> {
        Arc::new(Reporter::new(Output { quiet: true, ..Output::default() }))
    }

    fn walk(source: FsSource) -> Vec<Vec<u8>> {
        let mut source = source;
        let entries = std::iter::from_fn(|| source.next_entry());
        entries.map(|entry| entry.unwrap().1.path.as_bytes().to_vec()).collect()
    }

    /// Returns what is sent of these files (and folders, where a name ends in a slash), below `t`; folders are not
    /// listed.
    fn sent(files: &[(&str, &str)], exclude: &[&str], ignore_files: bool) -> (Vec<String>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let patterns: Vec<_> = exclude.iter().map(ToString::to_string).collect();
        let mut filter = Filter::new(&patterns, &[]).unwrap();
        let failed = Arc::<AtomicBool>::default();
        if ignore_files {
            filter = filter.with_ignore_files(vec![root.clone()], quiet(), Arc::clone(&failed));
        }
        let source = FsSource::new([&root]).unwrap().filter(move |found| filter.admits(found));
        let sent = walk(source).into_iter().map(|name| String::from_utf8(name).unwrap());
        let sent = sent.filter(|name| dir.path().join(name).is_file());
        let sent = sent.map(|name| name.trim_start_matches("t/").to_owned()).collect();
        (sent, failed.load(Ordering::Relaxed))
    }

    #[test]
    fn filter_of_every_form_of_pattern_excludes_what_the_table_says() {
        let files = ["a.o", "b.c", "build/x", "lib/a.o", "lib/b.c", "lib/build/y", "lib/deep/a.o"];
        let tree = files.map(|name| (name, ""));
        for (patterns, excluded) in [
            (&["*.o"][..], &["a.o", "lib/a.o", "lib/deep/a.o"][..]),
            (&["/a.o"], &["a.o"]),
            (&["lib/*.o"], &["lib/a.o"]),
            (&["lib/**/*.o"], &["lib/a.o", "lib/deep/a.o"]),
            (&["**/deep/*.o"], &["lib/deep/a.o"]),
            (&["build"], &["build/x", "lib/build/y"]),
            (&["build/"], &["build/x", "lib/build/y"]),
            (&["/build/"], &["build/x"]),
            (&["a.o/"], &[]),
            (&["lib/**"], &["lib/a.o", "lib/b.c", "lib/build/y", "lib/deep/a.o"]),
            (&["?.c"], &["b.c", "lib/b.c"]),
            (&["[ab].c"], &["b.c", "lib/b.c"]),
            (&["*.{o,c}"], &["a.o", "b.c", "lib/a.o", "lib/b.c", "lib/deep/a.o"]),
            (&["*.o", "!/a.o"], &["lib/a.o", "lib/deep/a.o"]),
            (&["!/a.o", "*.o"], &["a.o", "lib/a.o", "lib/deep/a.o"]),
            // What is below an excluded folder cannot be included again.
            (&["lib", "!lib/b.c"], &["lib/a.o", "lib/b.c", "lib/build/y", "lib/deep/a.o"]),
            (&["t"], &[]),
            (&["*"], &files[..]),
            (&["B.C"], &[]),
        ] {
            let expected: Vec<_> = files.iter().filter(|name| !excluded.contains(name)).collect();
            assert_eq!(
                sent(&tree, patterns, false),
                (expected.iter().map(ToString::to_string).collect(), false),
                "{patterns:?}"
            );
        }
    }

    #[test]
    fn filter_pattern_that_is_wrong_or_matches_nothing_is_an_error_that_names_it() {
        for pattern in ["", "  ", "#x", "a[", "{a"] {
            let error = Filter::new(&["*.o".to_owned(), pattern.to_owned()], &[]).err().unwrap();
            assert!(error.contains(&format!("'{pattern}'")), "{error}");
        }
        assert!(Filter::new(&["\\#x".to_owned()], &[]).is_ok());
    }

    #[test]
    fn filter_honours_nested_ignore_files_in_their_order() {
        let tree = [
            (".gitignore", "*.log\n# a comment\n\n/top\r\nkept.tmp"),
            (".ignore", "!kept.tmp\n*.tmp\n!kept.tmp"),
            ("a.log", ""),
            ("a.tmp", ""),
            ("kept.tmp", ""),
            ("top", ""),
            ("sub/top", ""),
            ("sub/.gitignore", "\u{feff}!b.log\n/x"),
            ("sub/a.log", ""),
            ("sub/b.log", ""),
            ("sub/x", ""),
            ("sub/y/x", ""),
            ("sub/y/b.log", ""),
            ("z/b.log", ""),
            ("z/x", ""),
        ];
        let ignores = [".gitignore", ".ignore"];
        let (found, failed) = sent(&tree, &[], true);
        let found: Vec<_> =
            found.iter().map(String::as_str).filter(|name| !ignores.contains(name)).collect();
        let expected =
            ["kept.tmp", "sub/.gitignore", "sub/b.log", "sub/top", "sub/y/b.log", "sub/y/x", "z/x"];
        assert_eq!((found, failed), (expected.to_vec(), false));
        // What the command line says counts first, both ways.
        let (found, _) = sent(&tree, &["!a.log", "z"], true);
        assert!(found.contains(&"a.log".to_owned()) && found.contains(&"sub/a.log".to_owned()));
        assert!(!found.iter().any(|name| name.starts_with("z/")));
        assert_eq!(sent(&tree, &[], false).0.len(), tree.len(), "not unless asked for");
    }

    /// Maker of something under the name of an ignore file that cannot be honoured.
    type Spoil = fn(&Path);

    #[test]
    fn filter_ignore_file_that_cannot_be_honoured_is_told_and_nothing_of_its_folder_is_sent() {
        let spoilt: [(&str, Spoil); 10] = [
            ("a pattern that is wrong", |path| fs::write(path, "fine\na[\n").unwrap()),
            ("a line that is not UTF-8", |path| fs::write(path, b"fine\n\xff\n").unwrap()),
            ("too large", |path| fs::write(path, "x\n".repeat(1 << 20)).unwrap()),
            ("a folder", |path| fs::create_dir(path).unwrap()),
            ("a link inside", |path| symlink("key", path).unwrap()),
            ("a link outside", |path| symlink("/dev/null", path).unwrap()),
            ("a link to nothing", |path| symlink("none", path).unwrap()),
            ("a link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap()),
            ("a FIFO", |path| {
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RUSR, 0).unwrap();
            }),
            ("without permission", |path| {
                fs::write(path, "key").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
            }),
        ];
        for (what, spoil) in spoilt {
            for name in NAMES {
                let dir = tempfile::tempdir().unwrap();
                let root = dir.path().join("t");
                fs::create_dir_all(root.join("shut/sub")).unwrap();
                fs::create_dir_all(root.join("open")).unwrap();
                for file in ["a", "shut/key", "shut/sub/key", "shut/wanted", "open/key"] {
                    fs::write(root.join(file), "").unwrap();
                }
                let spoilt = root.join("shut").join(name);
                spoil(&spoilt);
                if what == "without permission" && File::open(&spoilt).is_ok() {
                    // For the administrator there is no such file.
                    continue;
                }
                let failed = Arc::<AtomicBool>::default();
                // What the command line takes in again does not open the folder.
                let exclude = [format!("/shut/{name}"), "!wanted".to_owned()];
                let mut filter = Filter::new(&exclude, &[]).unwrap().with_ignore_files(
                    vec![root.clone()],
                    quiet(),
                    Arc::clone(&failed),
                );
                let source = FsSource::new([&root]).unwrap();
                let mut sent = walk(source.filter(move |found| filter.admits(found)));
                sent.sort();
                assert_eq!(
                    sent,
                    [&b"t"[..], b"t/a", b"t/open", b"t/open/key", b"t/shut"],
                    "{what}, {name}"
                );
                assert!(failed.load(Ordering::Relaxed), "{what}, {name}");
            }
        }
    }

    #[test]
    fn filter_of_several_paths_keeps_them_apart_and_takes_names_that_are_not_utf8() {
        let dir = tempfile::tempdir().unwrap();
        for root in ["one", "two"] {
            fs::create_dir_all(dir.path().join(root).join("sub")).unwrap();
            for name in [b"x".as_slice(), b"\xff\xfe.o", b"\xff.c"] {
                fs::write(dir.path().join(root).join("sub").join(OsStr::from_bytes(name)), "")
                    .unwrap();
            }
        }
        fs::write(dir.path().join("one/sub/.ignore"), "x").unwrap();
        let roots = [dir.path().join("one"), dir.path().join("two")];
        let mut filter = Filter::new(&["*.o".to_owned(), ".ignore".to_owned()], &[])
            .unwrap()
            .with_ignore_files(roots.to_vec(), quiet(), Arc::default());
        let source = FsSource::new(&roots).unwrap().filter(move |found| filter.admits(found));
        let expected = [
            b"one/sub/\xff.c".as_slice(),
            b"one/sub",
            b"one",
            b"two/sub/x",
            b"two/sub/\xff.c",
            b"two/sub",
            b"two",
        ];
        assert_eq!(walk(source), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A walk with a filter gives what the filter leaves of the walk, all of whose folders it admits.
        #[test]
        fn filter_of_the_walk_is_the_filtered_walk(
            names in proptest::collection::btree_set("[abc](/[abc]){0,3}", 1..12),
            patterns in proptest::collection::vec("!?/?([abc*?]|\\*\\*)(/[abc*]){0,2}/?", 1..4),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("t");
            fs::create_dir(&root).unwrap();
            for name in &names {
                let path = root.join(name);
                // Where a name is that of a folder already, or a file is on the way, there is nothing to make.
                if fs::create_dir_all(path.parent().unwrap()).is_ok() {
                    let _ = fs::write(path, "");
                }
            }
            let all = walk(FsSource::new([&root]).unwrap());
            let Ok(mut filter) = Filter::new(&patterns, &[]) else { return Ok(()) };
            let exclude = filter.exclude.clone();
            let source = FsSource::new([&root]).unwrap().filter(move |found| filter.admits(found));
            let admitted = |name: &[u8]| {
                let Some(below) = name.strip_prefix(b"t/") else { return true };
                let below = Path::new(OsStr::from_bytes(below));
                let mut ways = below.ancestors().filter(|way| !way.as_os_str().is_empty());
                ways.all(|way| !exclude.matched(way, root.join(way).is_dir()).is_ignore())
            };
            let expected: Vec<_> = all.into_iter().filter(|name| admitted(name)).collect();
            prop_assert_eq!(walk(source), expected);
        }
    }
}
