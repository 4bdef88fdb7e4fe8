//! Kills at random moments, either side, each followed by the same command.
//!
//! The moments are counted in bytes on the wire, from one seed that is printed; `HAUL_SEED` sets another. 10 kills of
//! each kind, or 100 with `HAUL_LONG=1`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::common::is_long;
use crate::haul::{Haul, content, tree};
use crate::proxy::{Cut, IN_PROXY, Proxy, SOCKET};

/// Bytes that a killed process takes with it: at the sender what is read and not yet written to the stream, at the
/// receiver what is read of the stream and not yet written to the file; and what the buffers of two Unix sockets hold.
const IN_FLIGHT: u64 = 2 * (64 * 1024 + 2 * 257 * 1024) + 2 * SOCKET + IN_PROXY;

fn kills() -> u64 {
    if is_long() { 100 } else { 10 }
}

/// Two commands and the proxy between them, with one seed for all that is random.
struct Scene {
    outbox: TempDir,
    inbox: TempDir,
    more: &'static [&'static str],
    random: u64,
}

/// Moment at which a side is killed.
struct Moment {
    /// Bytes on the wire since the kill before.
    after: u64,
    side: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

/// Number of times that a side was killed, and content that travelled in all.
struct Told {
    kills: u64,
    content: u64,
}

impl Scene {
    fn new(more: &'static [&'static str]) -> Self {
        let seed = std::env::var("HAUL_SEED").map_or(1, |seed| seed.parse().expect("a number"));
        println!("HAUL_SEED={seed}");
        let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
        fs::create_dir(outbox.path().join("what")).unwrap();
        Self { outbox, inbox, more, random: seed }
    }

    /// Returns a number below `end`, by SplitMix64.
    fn random(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    /// Moments at random, all within so many bytes on the wire, so that none comes too late.
    fn moments(&mut self, bytes: u64) -> Vec<Moment> {
        let each = bytes / kills();
        let mut moment = || {
            let after = 1 + self.random(each);
            Moment { after, side: if self.random(2) == 0 { Side::Sender } else { Side::Receiver } }
        };
        (0..kills()).map(|_| moment()).collect()
    }

    /// Kills one side or the other at these moments, and looks at the folder after each. Then lets the transfer come to
    /// its end.
    fn run(self, moments: &[Moment], held: impl Fn(&Path)) -> Told {
        let sockets = tempdir().unwrap();
        let socket = format!("unix:{}", sockets.path().join("socket").display());
        let what = self.outbox.path().join("what").to_str().unwrap().to_owned();
        let into = self.inbox.path().to_str().unwrap().to_owned();
        let receive =
            [&["receive", "--insecure", &into, "--listen", &socket][..], self.more].concat();
        let bob = || {
            let mut bob = Haul::start(&receive);
            bob.address();
            bob
        };
        let mut receiver = bob();
        let limits: Vec<_> = moments.iter().map(|moment| moment.after).collect();
        let proxy = Proxy::new(&socket, Cut::Hold, limits);
        let alice =
            || Haul::start(["send", "--insecure", &what, &proxy.address, "--retry-for", "60s"]);
        let mut sender = alice();
        for Moment { side, .. } in moments {
            let connection = proxy.held();
            match side {
                Side::Sender => {
                    sender.kill();
                    drop(connection);
                    held(self.inbox.path());
                    sender = alice();
                }
                Side::Receiver => {
                    receiver.kill();
                    drop(connection);
                    held(self.inbox.path());
                    receiver = bob();
                }
            }
        }
        sender.finish().code(0);
        receiver.interrupt();
        receiver.finish().code(130);
        let (sent, got) = (tree(self.outbox.path()), tree(self.inbox.path()));
        assert!(sent == got, "{:?} and {:?} differ", sent.keys(), got.keys());
        let carried = proxy.carried();
        let kills = moments.len() as u64;
        let senders = moments.iter().filter(|moment| moment.side == Side::Sender).count() as u64;
        println!("killed {senders} senders, {} receivers; {carried:?}", kills - senders);
        assert_eq!(carried.cuts, kills);
        Told { kills, content: carried.content }
    }
}

/// Checks that all that is whole has its name, and what is not has none but that of a partial file.
pub(crate) fn whole_or_partial(folder: &Path, sent: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in tree(folder) {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap();
        if !(last.starts_with(".haul-") && last.ends_with(".part")) {
            assert!(sent.get(&name) == Some(&bytes), "{name} is not what was sent");
        }
    }
}

fn assert_bound(told: &Told, size: u64) {
    let bound = size + size / 100 + told.kills * IN_FLIGHT;
    assert!(told.content <= bound, "{} of {bound} bytes of content", told.content);
}

fn large() -> usize {
    if is_long() { 1 << 30 } else { 32 << 20 }
}

#[test]
fn either_side_killed_at_random_large_file_is_whole_and_travels_once() {
    let mut scene = Scene::new(&[]);
    fs::write(scene.outbox.path().join("what/large"), content(1, large())).unwrap();
    let sent = tree(scene.outbox.path());
    let moments = scene.moments(large() as u64);
    let told = scene.run(&moments, |inbox| whole_or_partial(inbox, &sent));
    assert_bound(&told, large() as u64);
}

/// Files of 1 KiB travel inside their offers: what is in flight are those that are not committed.
#[test]
fn either_side_killed_at_random_tree_is_whole_and_travels_once() {
    let mut scene = Scene::new(&[]);
    let (folders, files, size) = (20, if is_long() { 1000 } else { 100 }, 1024);
    for folder in 0..folders {
        let place = scene.outbox.path().join(format!("what/{folder}"));
        fs::create_dir(&place).unwrap();
        for file in 0..files {
            let seed = folder * files + file;
            fs::write(place.join(file.to_string()), content(seed, size as usize)).unwrap();
        }
    }
    let sent = tree(scene.outbox.path());
    let moments = scene.moments(folders * files * size);
    let told = scene.run(&moments, |inbox| whole_or_partial(inbox, &sent));
    assert_bound(&told, folders * files * size);
}

#[test]
fn either_side_killed_at_random_old_file_stands_until_the_new_one_is_whole() {
    let mut scene = Scene::new(&["--existing", "replace"]);
    let size = large() / 2;
    let old = content(2, size);
    let mut new = content(3, size);
    // One half is as it was: it need not travel.
    new[..size / 2].copy_from_slice(&old[..size / 2]);
    fs::write(scene.outbox.path().join("what/large"), &new).unwrap();
    let place = scene.inbox.path().join("what");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("large"), &old).unwrap();
    let is_old = |inbox: &Path| {
        assert!(fs::read(inbox.join("what/large")).unwrap() == old, "the old file is damaged");
    };
    let moments = scene.moments(size as u64 / 2);
    let told = scene.run(&moments, is_old);
    assert_bound(&told, size as u64 / 2);
}

/// The receiver reads slowly what the killed sender left in the buffers: its session is at work when the next one comes.
#[test]
fn sender_killed_while_its_receiver_still_reads_goes_on_where_it_was() {
    const SIZE: u64 = 8 << 20;
    let scene = Scene::new(&["--limit-rate", "3M"]);
    fs::write(scene.outbox.path().join("what/large"), content(1, SIZE as usize)).unwrap();
    let sent = tree(scene.outbox.path());
    let moments = [Moment { after: SIZE / 2, side: Side::Sender }];
    let told = scene.run(&moments, |inbox| whole_or_partial(inbox, &sent));
    assert_bound(&told, SIZE);
}
