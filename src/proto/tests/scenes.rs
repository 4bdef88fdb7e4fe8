//! Small sessions that other tests take as their subject.

use super::pair::{Alice, Bob, Pair, content, path};
use crate::config::{Compare, Config, IfExists};
use crate::hash::BlockSize;
use crate::types::{Meta, RelPath, Timestamp};

/// Content of names before and after.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) config: Config,
    pub(super) alice: Alice,
    pub(super) bob: Bob,
    /// The sender is stopped once it has the floor.
    pub(super) is_cancelled: bool,
}

impl Scene {
    pub(super) fn new(name: &'static str) -> Self {
        let config = Config::default().block_size(BlockSize::MIN);
        let (alice, bob) = (Alice::default(), Bob::default());
        Self { name, config, alice, bob, is_cancelled: false }
    }

    pub(super) fn if_exists(mut self, existing: IfExists) -> Self {
        self.config = self.config.if_exists(existing);
        self
    }

    pub(super) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let meta = Meta::file(path(name), Some(bytes.len() as u64));
        self.alice.files.push((meta, bytes.to_vec()));
        self
    }

    /// Returns a file with a time, and whether the receiver has one of this time and other content of the
    /// same size.
    fn dated(mut self, name: &str, bytes: &[u8], is_held: bool) -> Self {
        let time = Timestamp::new(7, 8).unwrap();
        self.config = self.config.compare(Compare::SizeAndTime);
        let meta = Meta::file(path(name), Some(bytes.len() as u64)).modified(Some(time));
        self.alice.files.push((meta, bytes.to_vec()));
        if is_held {
            self.bob.visible.insert(path(name), bytes.to_vec());
            self.bob.times.insert(path(name), time);
        }
        self
    }

    fn meta(mut self, meta: Meta) -> Self {
        self.alice.files.push((meta, Vec::new()));
        self
    }

    pub(super) fn stream(mut self, name: &str, bytes: &[u8]) -> Self {
        self.alice.files.push((Meta::file(path(name), None), bytes.to_vec()));
        self
    }

    pub(super) fn visible(mut self, name: &str, bytes: &[u8]) -> Self {
        self.bob.visible.insert(path(name), bytes.to_vec());
        self
    }

    pub(super) fn partial(mut self, name: &str, bytes: &[u8]) -> Self {
        self.bob.partial.insert(path(name), bytes.to_vec());
        self
    }

    pub(super) fn pair(&self) -> Pair {
        let (alice, bob) = (self.alice.clone(), self.bob.clone());
        let mut pair = Pair::with(&self.config, &self.config, alice, bob);
        if self.is_cancelled {
            pair.sender.cancel();
        }
        pair
    }

    /// Checks that a visible name holds what it may: the sender's bytes, or what it held before.
    pub(super) fn check_visible(&self, bob: &Bob) -> Result<(), RelPath> {
        for (name, bytes) in &bob.visible {
            let before = self.bob.visible.get(name) == Some(bytes);
            let sent = self.alice.files.iter().any(|(meta, content)| {
                let beside = [meta.path.as_bytes(), b"-1"].concat();
                bytes == content && (*name == meta.path || name.as_bytes() == beside)
            });
            if !(before || sent) {
                return Err(name.clone());
            }
        }
        let lost = self.bob.visible.keys().find(|name| !bob.visible.contains_key(name));
        lost.map_or(Ok(()), |name| Err(name.clone()))
    }

    /// Checks that everything arrived, once and under its name.
    pub(super) fn check_complete(&self, bob: &Bob) {
        for (meta, content) in &self.alice.files {
            let beside = path(&format!("{}-1", String::from_utf8_lossy(meta.path.as_bytes())));
            let has = |name: &RelPath| bob.visible.get(name) == Some(content);
            assert!(has(&meta.path) || has(&beside), "{}: {} is not there", self.name, meta.path);
        }
        assert!(bob.visible.len() <= self.alice.files.len() + self.bob.visible.len(), "doubled");
        assert_eq!(bob.partial.keys().next(), None, "{}: left over", self.name);
    }
}

/// Returns a modest range of what can happen. All entries of all but `refused`, `link` and `abort`
/// arrive.
pub(super) fn all() -> Vec<Scene> {
    let long = content(1, 2058);
    let time = Timestamp::new(-1, 999_999_999);
    let mut abort = Scene::new("abort").file("a", b"five!");
    abort.is_cancelled = true;
    vec![
        Scene::new("inline").file("a", b"five!"),
        Scene::new("two-blocks").file("a", &long[..1034]),
        Scene::new("stream").stream("a", &long[..1034]),
        Scene::new("resume").file("a", &long).partial("a", &long[..1024]),
        Scene::new("equal").file("a", &long).visible("a", &long),
        Scene::new("refused").file("a", &long).visible("a", &content(2, 2058)),
        Scene::new("replace")
            .if_exists(IfExists::Replace)
            .file("a", &long)
            .visible("a", &[&long[..1024], &content(2, 1034)].concat()),
        Scene::new("rename")
            .if_exists(IfExists::Rename)
            .file("a", b"five!")
            .visible("a", b"six!!!"),
        Scene::new("zeros").file("a", &[0; 3072]),
        Scene::new("folder")
            .file("d/a", b"five!")
            .meta(Meta::directory(path("d")).modified(time).mode(Some(0o755))),
        Scene::new("link").meta(Meta::symlink(path("l"), (*b"../a").into())).file("a", b"five!"),
        abort,
        Scene::new("by-time")
            .dated("d/a", b"five!", true)
            .dated("d/b", &long[..1034], true)
            .dated("d/c", &long[..1034], false)
            .meta(Meta::directory(path("d")))
            .dated("e", b"five!", false),
        Scene::new("mixed")
            .if_exists(IfExists::Rename)
            .file("i", b"in")
            .file("b", &long[..1100])
            .file("r", &content(3, 2058))
            .file("x", b"new")
            .partial("r", &content(3, 1024))
            .visible("x", b"old"),
    ]
}

pub(super) fn scene(name: &str) -> Scene {
    all().into_iter().find(|scene| scene.name == name).unwrap()
}
