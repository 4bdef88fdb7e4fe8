//! A foreign hand in the folder, at random: between any two steps of a session, between the steps of a commit, and between
//! the system calls of all else. It renames, replaces, truncates and removes partial files, final names and folders, and puts
//! links and other things there.
//!
//! The oracle knows what the hand did. A receipt is of a file that holds what was sent, at the moment at which its commit
//! ends; what has a final name is what was sent, what was there, or what the hand put there; what the hand put under a
//! final name is changed by nobody, and removed only where it may be replaced; nothing happens outside the folder. What was
//! there before, and what is sent, may have holes: a file takes no more room than its data, and no file stays open.

mod room;
mod watched;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use self::watched::Watched;
use super::*;
use crate::config::{Config, IfExists, Turn};
use crate::hash::Hash;
use crate::store::MemorySource;
use crate::testing::pair::{self, Pair, Progress};
use crate::types::Event;

/// Numbers that depend on the seed alone.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    /// Returns a number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one_in(&mut self, cases: usize) -> bool {
        self.below(cases) == 0
    }

    fn of<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())].clone()
    }
}

type Inode = (u64, u64);

/// Thing that the hand put somewhere. It is kept open, so that no other file gets its number.
#[derive(Debug)]
struct Foreign {
    file: File,
    content: Vec<u8>,
    /// The name under which it was put.
    name: String,
    /// Set if it is not under the name of a partial file, and so is nobody else's business.
    is_visible: bool,
    is_removed: bool,
    /// Time of it, in steps.
    since: u64,
}

/// Acts of somebody with access to the folder, and the memory of them.
#[derive(Debug)]
struct Hand {
    root: PathBuf,
    outside: PathBuf,
    dice: Dice,
    /// Content that is sent, by name.
    sent: Vec<(Meta, Vec<u8>)>,
    /// Content that was there before.
    old: BTreeMap<String, Vec<u8>>,
    foreign: BTreeMap<Inode, Foreign>,
    /// Files of a session that the hand itself moved to another name, or to another folder.
    moved: BTreeMap<Inode, File>,
    replaces: bool,
    /// Files may have holes here.
    has_holes: bool,
    /// Owner of the partial files, as the store was told.
    owner: Owner,
    step: u64,
    acts: u64,
    /// Number of acts on partial files of the session.
    hits: u64,
    /// The step of a commit that is next. What the hand puts under a final name between a rename and its proof looks as if
    /// it had been renamed, and is moved to the name of the partial file, as nobody can tell.
    at: Option<Step>,
    /// A commit is under way: it has steps of its own, past some of which its receipt is true.
    is_committing: bool,
    is_tired: bool,
    log: Vec<String>,
}

fn inode(meta: &fs::Metadata) -> Inode {
    (meta.dev(), meta.ino())
}

fn content(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Hand {
    /// Does something, or nothing.
    fn act(&mut self) {
        if self.is_tired || !self.dice.one_in(ACTS_IN) {
            return;
        }
        self.acts += 1;
        let name = self.target();
        let path = self.root.join(&name);
        let act = self.dice.below(11);
        let stands = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file);
        let is_own = stands.is_some_and(|meta| !self.foreign.contains_key(&inode(&meta)));
        self.hits += u64::from(is_own && name.contains(".haul-"));
        self.log.push(format!("step {} {:?}: act {act} on {name}", self.step, self.at));
        match act {
            0..=2 => self.put_file(&name, &path),
            3 => self.remove(&path),
            4 => self.take_away(&path),
            5 => self.put_other(&path, |path| symlink("../outside/sentinel", path).unwrap()),
            6 => self.put_other(&path, fifo),
            7 => {
                let to = self.target();
                self.rename(&name, &to);
            }
            8 => self.truncate(&name, &path),
            9 => self.move_folder(),
            _ => drop(fs::create_dir(&path)),
        }
    }

    /// Returns a name of the session, or one of its partial files, whether it is there or not.
    fn target(&mut self) -> String {
        let left = self.partials();
        if !left.is_empty() && self.dice.one_in(2) {
            return self.dice.of(&left);
        }
        let (meta, _) = &self.sent[self.dice.below(self.sent.len())];
        let name = meta.path.to_string();
        let (parent, base) =
            name.rsplit_once('/').map_or(("", &*name), |(parent, base)| (parent, base));
        let base = match self.dice.below(8) {
            0..=4 => partial::name(self.owner, base.as_bytes(), 0),
            5 => partial::name(self.owner, base.as_bytes(), 1),
            _ => base.to_owned(),
        };
        if parent.is_empty() { base } else { format!("{parent}/{base}") }
    }

    /// Returns the partial files that there are, whoever put them there.
    fn partials(&self) -> Vec<String> {
        let mut all = Vec::new();
        for folder in ["", "d/"] {
            let Ok(entries) = fs::read_dir(self.root.join(folder)) else { continue };
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let partials = names.filter(|name| name.starts_with(".haul-"));
            all.extend(partials.map(|name| format!("{folder}{name}")));
        }
        all.sort();
        all
    }

    fn aside(&self) -> PathBuf {
        self.outside.join(format!("aside-{}-{}", self.step, self.acts))
    }

    /// Puts a file of the hand's over a name.
    fn put_file(&mut self, name: &str, path: &Path) {
        let aside = self.aside();
        let len = self.dice.below(4000);
        let mut bytes = content(self.foreign.len() + 1000, len);
        if self.dice.one_in(4) {
            // What is sent, or its beginning: of another file, most of all.
            bytes.clone_from(&self.sent[self.dice.below(self.sent.len())].1);
            bytes.truncate(self.dice.below(bytes.len() + 1));
        }
        fs::write(&aside, &bytes).unwrap();
        let file = File::open(&aside).unwrap();
        self.forget(path);
        if fs::rename(&aside, path).is_err() {
            return fs::remove_file(&aside).unwrap();
        }
        let is_visible = !name.contains(".haul-") && self.at != Some(Step::Renamed);
        let name = name.to_owned();
        let since = self.step;
        let id = inode(&file.metadata().unwrap());
        self.foreign.insert(
            id,
            Foreign { file, content: bytes, name, is_visible, is_removed: false, since },
        );
    }

    /// Puts something else over a name.
    fn put_other(&mut self, path: &Path, plant: fn(&Path)) {
        let aside = self.aside();
        plant(&aside);
        self.forget(path);
        if fs::rename(&aside, path).is_err() {
            fs::remove_file(&aside).unwrap();
        }
    }

    /// Forgets what has this name, which is about to lose it by the hand.
    fn forget(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        if let Some(foreign) = self.foreign.get_mut(&inode(&meta)) {
            foreign.is_removed = true;
        }
    }

    fn remove(&mut self, path: &Path) {
        self.forget(path);
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
    }

    fn take_away(&mut self, path: &Path) {
        self.forget(path);
        let aside = self.aside();
        let _ = fs::rename(path, aside);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (path, target) = (self.root.join(from), self.root.join(to));
        if from == to || !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let Ok(file) = File::open(&path) else { return };
        let id = inode(&file.metadata().unwrap());
        let over = fs::symlink_metadata(&target).ok().map(|meta| inode(&meta));
        if over == Some(id) || fs::rename(&path, &target).is_err() {
            return;
        }
        if let Some(foreign) = over.and_then(|over| self.foreign.get_mut(&over)) {
            foreign.is_removed = true;
        }
        // Whoever has it open may go on writing to it.
        self.foreign.remove(&id);
        self.moved.insert(id, file);
    }

    fn truncate(&mut self, name: &str, path: &Path) {
        let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > 0);
        let file = File::options().read(true).write(true).open(path);
        let (true, Ok(file)) = (is_file, file) else { return };
        let meta = file.metadata().unwrap();
        file.set_len(u64::try_from(self.dice.below(usize::try_from(meta.len()).unwrap())).unwrap())
            .unwrap();
        if !name.contains(".haul-") {
            self.foreign.remove(&inode(&meta));
            self.moved.insert(inode(&meta), file);
        }
    }

    /// Moves the folder elsewhere, with all that is in it; a link or a new folder may take its
    /// place.
    fn move_folder(&mut self) {
        let (folder, aside) = (self.root.join("d"), self.aside());
        if !folder.is_dir() || folder.is_symlink() {
            return self.remove(&folder);
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(file) = open(&path) else { continue };
            let id = inode(&file.metadata().unwrap());
            self.foreign.remove(&id);
            self.moved.insert(id, file);
        }
        fs::rename(&folder, &aside).unwrap();
        match self.dice.below(3) {
            0 => symlink(&aside, &folder).unwrap(),
            1 => fs::create_dir(&folder).unwrap(),
            _ => {}
        }
    }

    fn context(&self) -> String {
        self.log.join("\n")
    }

    /// Looks at everything that has a visible name, and at what became of all that the hand did.
    fn check(&self) {
        self.check_folder(&self.root, "");
        for (id, foreign) in &self.foreign {
            let links = foreign.file.metadata().unwrap().nlink();
            let may_go = foreign.is_removed || self.replaces || !foreign.is_visible;
            assert!(links > 0 || may_go, "{id:?} was removed\n{}", self.context());
            if foreign.is_visible {
                let mut bytes = vec![0; foreign.content.len() + 1];
                let read = foreign.file.read_at(&mut bytes, 0).unwrap();
                assert!(
                    bytes[..read] == foreign.content,
                    "{:?} was changed\n{}",
                    foreign.name,
                    self.context()
                );
            }
        }
        let sentinel = fs::read(self.outside.join("sentinel")).unwrap();
        assert_eq!(sentinel, b"sentinel", "{}", self.context());
    }

    fn check_folder(&self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            if meta.is_dir() {
                self.check_folder(&entry.path(), &format!("{name}/"));
            }
            let id = inode(&meta);
            if !meta.is_file() || name.contains(".haul-") || self.moved.contains_key(&id) {
                continue;
            }
            let foreign = self.foreign.get(&id);
            if foreign.is_some_and(|foreign| foreign.name == name) {
                continue;
            }
            let is_moved = foreign.is_some_and(|foreign| foreign.is_visible);
            assert!(!is_moved, "{name} was another\n{}", self.context());
            let bytes = fs::read(entry.path()).unwrap();
            let is_old = self.old.get(&name).is_some_and(|old| *old == bytes);
            let is_beside =
                |path: &RelPath| name == path.to_string() || name.starts_with(&format!("{path} ("));
            let is_sent =
                self.sent.iter().any(|(meta, sent)| *sent == bytes && is_beside(&meta.path));
            assert!(
                is_old || is_sent,
                "{name} holds {} wrong bytes\n{}",
                bytes.len(),
                self.context()
            );
        }
    }

    /// Checks that what has just been committed is there.
    fn check_receipt(&self, commit: &Commit, committed: &Committed, begun: Option<u64>) {
        let path = self.root.join(committed.path.to_string());
        let what = format!("{}\nthe receipt for {}", self.context(), committed.path);
        let stands = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        match &commit.meta.kind {
            Kind::Directory => assert!(stands.is_dir(), "{what}"),
            Kind::Symlink(target) => {
                let found =
                    fs::read_link(&path).map(|found| found.into_os_string().into_encoded_bytes());
                assert_eq!(found.unwrap(), **target, "{what}");
            }
            Kind::File => {
                assert!(stands.is_file(), "{what}");
                let (_, sent) =
                    self.sent.iter().find(|(meta, _)| meta.path == commit.meta.path).unwrap();
                assert!(fs::read(&path).unwrap() == *sent, "{what} is false");
                let foreign = self.foreign.get(&inode(&stands));
                let is_later =
                    foreign.zip(begun).is_some_and(|(foreign, begun)| foreign.since > begun);
                assert!(!is_later, "{what} is of another file");
                let is_ours = foreign.is_none() && !self.moved.contains_key(&inode(&stands));
                let (taken, most) = (stands.blocks() * 512, room::most(sent));
                let is_small = !self.has_holes || !is_ours || taken <= most;
                assert!(is_small, "{what}: {taken} bytes are taken, of {most} that it may");
            }
        }
    }
}

/// Opens a regular file; what stands there may be a FIFO.
fn open(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Returns the content that is sent: files of up to a few blocks, some of them below a folder, the folder
/// itself, and a link.
fn sent(dice: &mut Dice) -> Vec<(Meta, Vec<u8>)> {
    let mut sent = Vec::new();
    for (number, name) in ["a", "d/b", "c", "d/e"].into_iter().enumerate() {
        if dice.one_in(4) && number > 0 {
            continue;
        }
        let len = dice.of(&[0, 5, 1024, 1500, 2058, 4100, LARGE]);
        let size = (!dice.one_in(4)).then(|| u64::try_from(len).unwrap());
        let mut bytes = content(number, len);
        if len == LARGE && dice.one_in(2) {
            hollow(&mut bytes, dice);
        }
        sent.push((Meta::file(rel(name), size), bytes));
    }
    if dice.one_in(2) {
        sent.push((Meta::directory(rel("d")), Vec::new()));
    }
    if dice.one_in(2) {
        sent.push((Meta::symlink(rel("link"), (*b"d/b").into()), Vec::new()));
    }
    sent
}

/// A file of so many bytes may have holes.
const LARGE: usize = 12 * room::PAGE;

/// Puts zeros somewhere, which make a hole where nothing else is written.
fn hollow(bytes: &mut [u8], dice: &mut Dice) {
    let pages = bytes.len() / room::PAGE;
    let first = dice.below(pages);
    let end = first + 1 + dice.below(pages - first);
    bytes[first * room::PAGE..end * room::PAGE].fill(0);
}

fn source(sent: &[(Meta, Vec<u8>)]) -> MemorySource {
    sent.iter().fold(MemorySource::new(), |source, (meta, bytes)| {
        source.entry(meta.clone(), bytes.clone())
    })
}

/// Runs one transfer, over up to four connections; returns how often the hand acted, and how often on a partial file.
fn run(seed: u64) -> (u64, u64) {
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("sentinel"), "sentinel").unwrap();
    let has_holes = room::has_holes(&outside);
    let sent = sent(&mut dice);
    let mut old = BTreeMap::new();
    for (meta, bytes) in sent.iter().filter(|(meta, _)| meta.kind == Kind::File) {
        if dice.one_in(3) {
            let mut bytes = bytes.clone();
            if !dice.one_in(3) {
                bytes.extend_from_slice(b"older");
                if bytes.len() > LARGE || dice.one_in(4) {
                    bytes.resize(bytes.len().max(LARGE + dice.below(LARGE)), 0);
                    hollow(&mut bytes, &mut dice);
                }
            }
            let path = root.join(meta.path.to_string());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            room::write_sparse(&path, &bytes);
            old.insert(meta.path.to_string(), bytes);
        }
    }
    let policies = [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];
    let existing = dice.of(&policies);
    let turn = Turn::default().initial_bytes(dice.of(&[0, 1500, 1 << 20]));
    let durability = dice.of(&[Durability::Received, Durability::Received, Durability::Synced]);
    let ours = Config::default().block_size(BlockSize::MIN).turn(turn);
    let theirs = Config::default().turn(turn).if_exists(existing).durability(durability);
    let about: Vec<_> =
        sent.iter().map(|(meta, bytes)| (meta.path.to_string(), meta.size, bytes.len())).collect();
    let hand = Hand {
        root: root.clone(),
        outside,
        dice: dice.clone(),
        sent: sent.clone(),
        old,
        foreign: BTreeMap::new(),
        moved: BTreeMap::new(),
        replaces: existing == IfExists::Replace,
        has_holes,
        owner: Owner::default(),
        step: 0,
        acts: 0,
        hits: 0,
        at: None,
        is_committing: false,
        is_tired: false,
        log: vec![format!("seed {seed}, {existing:?}, {durability:?}, {about:?}")],
    };
    let hand = Arc::new(Mutex::new(hand));
    let store = FsStore::open(&root).unwrap().sync_threads(0).allow_links();
    if dice.one_in(3) {
        store.shared.unnamed.set_impossible();
    }
    let of_commits = Arc::clone(&hand);
    let has_flags = !dice.one_in(5);
    store.shared.hook.set(move |step| {
        let mut hand = of_commits.lock().unwrap();
        match step {
            // Past the proof of its name a commit is over, for what it says.
            Step::SyncFolder | Step::Unlink => {}
            Step::Call => {
                if !hand.is_committing && hand.dice.one_in(CALLS_IN) {
                    hand.act();
                }
            }
            step => {
                hand.at = Some(step);
                hand.act();
                hand.at = None;
            }
        }
        drop(hand);
        let is_flag = matches!(step, Step::RenameNoReplace | Step::RenameExchange | Step::Link);
        if is_flag && !has_flags { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    });
    let watched = || Watched::new(&store, &hand);
    let mut pair = Pair::new(&ours, source(&sent), &theirs, watched());
    for _ in 0..dice.below(3) {
        pair.down.cut(u64::try_from(dice.below(6000)).unwrap());
        session(&mut pair, &hand);
        match dice.below(3) {
            0 => pair.resume(),
            1 => pair.reconnect(watched()),
            _ => pair.restart(source(&sent), watched()),
        }
    }
    let ended = session(&mut pair, &hand);
    let is_well = matches!(ended, (pair::SessionEnd::Closed(_), pair::SessionEnd::Closed(_)));
    assert!(is_well, "{ended:?}\n{}", hand.lock().unwrap().context());
    // What the hand has left does not come in the way of a session, though it may in that of its entries.
    hand.lock().unwrap().is_tired = true;
    pair.restart(source(&sent), watched());
    pair.alice.events.clear();
    let ended = session(&mut pair, &hand);
    let pair::SessionEnd::Closed(sum) = ended.0 else { panic!("{ended:?}") };
    let mut hand = hand.lock().unwrap();
    // Its own ends.
    (hand.foreign, hand.moved) = (BTreeMap::new(), BTreeMap::new());
    let open = room::open_below(&dir.path().canonicalize().unwrap());
    assert!(open.is_empty(), "{open:?} are open\n{}", hand.context());
    let count = u64::try_from(sent.len()).unwrap();
    assert_eq!(sum.delivered + sum.refused + sum.skipped, count, "{sum:?}\n{}", hand.context());
    for event in &pair.alice.events {
        if let Event::Delivered { entry, receipt } = event {
            let (meta, bytes) = &sent[usize::try_from(entry.get()).unwrap()];
            let is_file = meta.kind == Kind::File;
            assert!(!is_file || receipt.hash == Hash::of(bytes), "{}", hand.context());
        }
    }
    (hand.acts, hand.hits)
}

fn session(
    pair: &mut Pair<MemorySource, Watched>,
    hand: &Mutex<Hand>,
) -> (pair::SessionEnd, pair::SessionEnd) {
    loop {
        let alice = pair.step_alice();
        {
            let mut hand = hand.lock().unwrap();
            hand.step += 1;
            hand.act();
        }
        let bob = pair.step_bob();
        let hand = hand.lock().unwrap();
        if !matches!(bob, Progress::Idle(_)) {
            hand.check();
        }
        match (alice, bob) {
            (Progress::Ended(alice), Progress::Ended(bob)) => return (alice, bob),
            (Progress::Idle(_), Progress::Idle(_)) => {
                assert!(hand.step < 100_000, "the session does not end\n{}", hand.context());
            }
            _ => {}
        }
    }
}

/// The hand acts in one of so many steps.
const ACTS_IN: usize = 6;

/// Of the system calls beside those of commits, one in so many is such a step.
const CALLS_IN: usize = 8;

#[test]
fn store_with_a_foreign_hand_in_its_folder_gives_true_receipts_and_takes_nothing() {
    let runs = if std::env::var_os("HAUL_LONG").is_some() { 50_000 } else { 400 };
    let add = |(acts, hits): (u64, u64), run: (u64, u64)| (acts + run.0, hits + run.1);
    let (acts, hits) = (0..runs).map(run).fold((0, 0), add);
    assert!(acts > runs, "the hand acted {acts} times");
    // Those are what a receipt is taken from: a hand that knows them by other names meets nothing.
    assert!(hits > runs, "{hits} of {acts} acts met a partial file");
}
