//! Settings of a user, among them all that a peer may influence.

use std::time::Duration;

use crate::hash::{BlockSize, BlockSizes};
use crate::types::Durability;

/// Settings of a user. [`Config::default`] serves everyone; each field tells when to change it.
///
/// Setters take and give back the value and are named like the field:
///
/// ```
/// use haul::{Config, Durability, IfExists};
///
/// let config = Config::default().if_exists(IfExists::Replace).durability(Durability::Flushed);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Receiver: what to do where a different file has the name of an entry. Default:
    /// [`IfExists::Refuse`], which damages nothing.
    pub if_exists: IfExists,
    /// Receiver: durability of an entry before its receipt is sent. Default: [`Durability::Synced`]; the
    /// lower levels are faster where many small files meet a slow device.
    pub durability: Durability,
    /// Sender: sizes of the blocks that files are cut into. Default: 256 KiB, and up to 1 MiB where a file has a thousand
    /// of them, which is from 512 MiB on (`benches/tcp.rs`). [`Config::block_size`] sets one for all.
    ///
    /// A block is the unit of repair, of resume and of waiting: on a slow line choose one that takes well
    /// under [`Deadlines::progress`] (4 KiB for 9600 baud), or let [`Config::for_rate`] choose. A peer with a lower
    /// [`Limits::block`] gets blocks of that size. Cost: one block of memory on either side.
    pub blocks: BlockSizes,
    /// Sender: recognition of a file that the receiver holds already. Default: [`Compare::Content`].
    pub compare: Compare,
    /// Longest waits.
    pub deadlines: Deadlines,
    /// Length of a turn, in which one side sends before the other may.
    pub turn: Turn,
    /// Limits on the peer.
    pub limits: Limits,
}

/// Policy of a receiver for a *different* file with the name of an entry. Equal content is a success under
/// each of them, and is not written again.
///
/// That holds whenever the file appeared: before the entry was offered, or while it was under way, as where two senders
/// bring one new name. Then it is decided when the name is given; the second one is not sent again, and leaves no
/// partial file.
///
/// A file that was found equal, and is changed or removed before its receipt, is a different one by then. The content
/// is not at hand, as it did not travel: the entry is refused as [`Refusal::Exists`](crate::Refusal::Exists), or
/// skipped under `Skip`, and the next transfer finds what stands then.
///
/// A file that cannot be read while it is compared counts as different: under `Rename` the entry stands beside
/// it, and nothing is lost.
///
/// Unless files may be replaced, a sender learns nothing of a file but whether it has the size that is offered and the
/// hash of all that is offered: the sender hashes its content first, and sends that hash. This takes one reading at
/// either side, and no content travels where both are equal. Content of unknown size, as from a pipe, travels before it
/// is compared: up to the length of the file that has the name under `Refuse` and `Skip`, which its sender so learns,
/// and whole under `Rename`.
///
/// Under `Replace`, the hashes of the blocks of the old file are sent to whoever offers one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum IfExists {
    /// Keeps the file and refuses the entry, which the sender reports as an error. The default.
    #[default]
    Refuse,
    /// Keeps the file and skips the entry, which the sender does not report as an error.
    Skip,
    /// Keeps the file and puts the entry beside it: `photo (1).jpg`.
    Rename,
    /// Puts the entry in place of the file, in one step once it is complete; blocks that are equal at their
    /// place are taken from the file instead of from the sender.
    Replace,
}

/// Way for a sender to find out that the receiver holds a file already, so that its content need
/// not travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compare {
    /// By the hashes of its content, for which both sides read all of it. The default.
    #[default]
    Content,
    /// By its size and the time of its last change, to the nanosecond: where a file of the receiver has both under the
    /// name that is offered, neither side reads it.
    ///
    /// Such an entry gets no receipt, but an event [`Trusted`](crate::Event::Trusted): what the receiver's
    /// file holds is not verified, nor how durably. A file that was changed and given its old time is
    /// taken for unchanged. One that differs in either is sent as ever, under the receiver's policy.
    ///
    /// There is no such setting for the receiver: it reveals no more than a sender could find out in other ways, and
    /// what it does not write cannot hurt it. A store that does not want to be asked does not implement
    /// [`stat`](crate::store::Store::stat).
    SizeAndTime,
}

/// Longest wait for each step. A peer can propose none of these.
///
/// Each wait ends in [`Error::Stalled`](crate::proto::Error::Stalled), which names the deadline. The defaults are for lines of
/// 16 KiB/s and more, whose buffers take up to 8 MiB; [`Config::for_rate`] is for slower ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// From the start of a session to the end of the peer's greeting, however many bytes the greeting has. While the
    /// stream takes bytes of this side's turn, the deadlines of the turn hold instead; a stream that has taken none at
    /// all, as during a handshake below, has this time. Default: 10 s.
    pub hello: Duration,
    /// Without any byte from a peer that has the floor, or any byte taken by one that listens. Default: 30 s;
    /// a peer that has nothing to send sends a heartbeat every [`Deadlines::HEARTBEAT`].
    ///
    /// The wait for an answer begins when the stream has taken the last byte of the turn. Until the first byte of the
    /// answer it is longer by the time in which [`Deadlines::rate`] moves that turn.
    pub silence: Duration,
    /// Rate of the slowest line behind buffers that take bytes before the peer does, in bytes per second. Default: 16
    /// KiB/s; a second is added to the wait for an answer for each 16 KiB of the turn, for 8 MiB
    /// ([`Deadlines::BUFFERS`]) at most. So a peer that dies with the last byte of a turn is left after 30 s, and 8 min
    /// 32 s more at most. For slower lines there is [`Config::for_rate`].
    pub rate: u64,
    /// From the first byte of a message to its last, and in one of more than 256 KiB for each 256 KiB. Default: 60 s,
    /// which asks for 4.4 KB/s. A peer that listens must take at least 4 KiB in this time, or all there is.
    pub progress: Duration,
    /// Without anything that moves an entry: an offer, content, a new answer about an entry. Default: 15 min, the time
    /// that a device may take to sync. The wait counts over all turns of the peer; heartbeats, unknown messages and
    /// empty turns do not extend it.
    ///
    /// One thing does: a sender whose source has nothing at the moment, such as a pipe, sends a heartbeat in each of
    /// its turns while content of a pending entry is due. Neither side ends such a session: it goes on until the source
    /// does, somebody [cancels](crate::CancelToken), or the stream is lost. A [server](crate::Server) ends it after 60
    /// s if another sender waits for a place, and it comes again.
    pub idle: Duration,
    /// Receiver: longest wait for the end of a sender's turn before bad news is sent; after it the receiver closes
    /// without sending the news. Default: 15 s, a few times the length of a turn. A sender that has announced that it
    /// leaves gets the news at once.
    pub drain: Duration,
}

impl Deadlines {
    /// Interval of heartbeats of a side that has the floor and nothing to send: 5 s. The same for
    /// all, so that nobody need ask for it.
    pub const HEARTBEAT: Duration = Duration::from_secs(5);

    /// Bytes of a turn that the buffers between both sides are taken to hold at most: 8 MiB, twice the largest send
    /// buffer that Linux gives a TCP socket by itself.
    pub const BUFFERS: u64 = 8 << 20;
}

/// Length of a turn: the time in which one side sends before the other may. Long turns cost few round
/// trips; short ones let bad news (a full disk, a cancel) through soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Bytes of a sender's first turn with content. Default: 16 MiB. Turns then grow until the wait for an answer is at
    /// most a fiftieth of the turn, but not beyond the bytes that the line moves in `max_time`, as the answers show.
    /// After an answer that begins late they shrink to that.
    pub initial_bytes: u64,
    /// The most bytes of a turn, of either side. Default: 1 GiB. The lower of both sides' values holds.
    pub max_bytes: u64,
    /// The most time of a turn, until the stream has taken it; checked between blocks. Default: 5 s.
    pub max_time: Duration,
}

/// Limits on what a peer may make this side take. All are checked before anything is taken. Of entries that are open
/// or pending, and of commits, one is always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest block accepted. Default: 1 MiB. Cost: one such block of memory.
    pub block: BlockSize,
    /// Entries with content of their own that may be open at a time. Default: 64. Cost: at the receiver one
    /// open file for each.
    pub open_entries: u32,
    /// Entries that may be offered and not yet finished. Default: 6144, so that a tree of 100,000 small files
    /// takes some 25 round trips, and no more than 8 MiB. Cost: about 1.3 KB and the name for each, on either side
    /// (`benches/link.sh` measures both).
    pub pending_entries: u32,
    /// Bytes of all names of pending entries together. Default: 2 MiB. The sender keeps to its own value and the
    /// receiver's, whichever is lower.
    pub pending_names: u32,
    /// Commits that may be under way at a time; at that number the receiver stops reading. Default: 64. Cost: up
    /// to two open files each. Likewise the number of entries larger than a block that are being compared with files
    /// which were faster to get their names: at that number the receiver keeps the floor until some are done.
    pub commits: u32,
    /// Holes in the known ranges of one file; a block that would make more is refused with its file. A block next to a
    /// known range makes none, and is never refused for it. Default: 1024. Cost: up to 4 KiB each, as what lies between
    /// two holes is kept as the hashes of its subtrees.
    pub holes: u32,
    /// Rounds in which damaged blocks of one entry are asked for again. Default: 64.
    pub repairs: u32,
    /// Receiver: most entries of a transfer, those that are refused among them. Default: 1 million. Cost: where the store
    /// looks for names that differ by case alone, up to 34 bytes for each.
    pub entries: u64,
    /// Receiver: largest file, in bytes. Default: 2^62. A file of known size is refused before anything is begun; of a
    /// stream that goes beyond, nothing is kept.
    pub file_bytes: u64,
    /// Receiver: most bytes of a transfer. Default: 2^62. What goes beyond is refused likewise. The limit also bounds
    /// the bytes that a sender can have hashed: zeros do not travel, but each byte of them is hashed like any other, at
    /// some GB/s, and once for each entry.
    pub total_bytes: u64,
    /// Receiver: longest name, in bytes. Default: 4095.
    pub name_bytes: u32,
    /// Receiver: deepest name, in parts. Default: 128.
    pub depth: u32,
}

impl Config {
    /// Returns the configuration for a line that moves this many bytes per second in either direction, however much its
    /// buffers take. Both sides use it.
    ///
    /// Blocks and turns take 5 s at most, if they are as large as that allows, so that progress is seen and bad news
    /// received; and deadlines are as long as the largest message takes. From 51 KiB/s on [`Config::default`] does as
    /// well.
    ///
    /// | bytes per second | block | turn | `hello` | `silence` | `rate` | `progress` | `drain` |
    /// | --- | --- | --- | --- | --- | --- | --- | --- |
    /// | 300 | 1 KiB | 1.5 KB | 10 s | 30 s | 150 B/s | 116 s | 73 s |
    /// | 960 (9600 baud) | 4 KiB | 4.8 KB | 10 s | 30 s | 480 B/s | 60 s | 33 s |
    /// | 11520 (115200 baud) | 32 KiB | 57.6 KB | 10 s | 30 s | 5760 B/s | 60 s | 16 s |
    /// | 60000 | 256 KiB | 300 KB | 10 s | 30 s | 16 KiB/s | 60 s | 15 s |
    ///
    /// A peer that dies with the last byte of a turn is left after `silence`, and the time in which `rate` moves the
    /// turn: after some 40 s, or little more where the turn ends with a message of many ranges or a long name.
    #[must_use]
    pub fn for_rate(bytes_per_second: u64) -> Self {
        let rate = bytes_per_second.max(1);
        let mut config = Self::default();
        config.limit_turns(rate.saturating_mul(TURN_SECONDS));
        let takes = |bytes: u64| Duration::from_secs(bytes / rate);
        let deadlines = &mut config.deadlines;
        deadlines.hello = deadlines.hello.max(takes(GREETINGS));
        deadlines.rate = deadlines.rate.min(rate / 2).max(1);
        deadlines.progress = deadlines.progress.max(takes(2 * MESSAGE));
        deadlines.drain = deadlines.drain.saturating_add(takes(MESSAGE));
        config
    }

    /// Sets one size of blocks for all files, as [`Config::blocks`](Config#structfield.blocks) does with [`BlockSizes::all`].
    #[must_use]
    pub const fn block_size(self, size: BlockSize) -> Self {
        self.blocks(BlockSizes::all(size))
    }

    /// Limits blocks and turns to this many bytes, as far as block sizes allow.
    fn limit_turns(&mut self, bytes: u64) {
        let block = BlockSize::at_most(bytes);
        self.blocks = self.blocks.at_most(block);
        self.limits.block = self.limits.block.min(block);
        self.turn.max_bytes = self.turn.max_bytes.min(bytes.max(block.bytes()));
    }
}

/// Length of a turn, in seconds, on a line whose rate is known.
const TURN_SECONDS: u64 = 5;

/// Upper bound of the greetings of both sides, in bytes.
const GREETINGS: u64 = 1024;

/// Upper bound of any message that is not content or hashes, in bytes: 1024 ranges.
const MESSAGE: u64 = 17 << 10;

impl Default for Config {
    fn default() -> Self {
        Self {
            if_exists: IfExists::default(),
            durability: Durability::default(),
            blocks: BlockSizes::between(BlockSize::at_most(256 << 10), BlockSize::at_most(1 << 20)),
            compare: Compare::default(),
            deadlines: Deadlines::default(),
            turn: Turn::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            rate: 16 << 10,
            progress: Duration::from_secs(60),
            idle: Duration::from_secs(15 * 60),
            drain: Duration::from_secs(15),
        }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self { initial_bytes: 16 << 20, max_bytes: 1 << 30, max_time: Duration::from_secs(5) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            block: BlockSize::at_most(1 << 20),
            open_entries: 64,
            pending_entries: 6144,
            pending_names: 2 << 20,
            commits: 64,
            holes: 1024,
            repairs: 64,
            entries: 1_000_000,
            file_bytes: 1 << 62,
            total_bytes: 1 << 62,
            name_bytes: 4095,
            depth: 128,
        }
    }
}

macro_rules! setters {
    ($owner:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $owner {
            $(
                #[doc = concat!("Sets [`", stringify!($owner), "::", stringify!($field), "`](", stringify!($owner), "#structfield.", stringify!($field), ").")]
                #[must_use]
                pub const fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

setters!(Config {
    if_exists: IfExists,
    durability: Durability,
    blocks: BlockSizes,
    compare: Compare,
    deadlines: Deadlines,
    turn: Turn,
    limits: Limits,
});
setters!(Deadlines {
    hello: Duration,
    silence: Duration,
    rate: u64,
    progress: Duration,
    idle: Duration,
    drain: Duration
});
setters!(Turn { initial_bytes: u64, max_bytes: u64, max_time: Duration });
setters!(Limits {
    block: BlockSize,
    open_entries: u32,
    pending_entries: u32,
    pending_names: u32,
    commits: u32,
    holes: u32,
    repairs: u32,
    entries: u64,
    file_bytes: u64,
    total_bytes: u64,
    name_bytes: u32,
    depth: u32,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_rate_chooses_the_figures_that_are_documented() {
        let kib = |kib: u64| kib << 10;
        for (rate, block, turn, least, progress, drain) in [
            (300, kib(1), 1500, 150, 116, 73),
            (960, kib(4), 4800, 480, 60, 33),
            (11_520, kib(32), 57_600, 5760, 60, 16),
            (60_000, kib(256), 300_000, kib(16), 60, 15),
        ] {
            let config = Config::for_rate(rate);
            let blocks = (config.blocks.most().bytes(), config.limits.block.bytes());
            assert_eq!((blocks, config.turn.max_bytes), ((block, block), turn), "{rate}");
            let deadlines = Deadlines::default().rate(least);
            let deadlines = deadlines.progress(Duration::from_secs(progress));
            assert_eq!(config.deadlines, deadlines.drain(Duration::from_secs(drain)), "{rate}");
        }
        // No rate, however low or high, makes a configuration that cannot be.
        for rate in [0, 1, u64::MAX] {
            let config = Config::for_rate(rate);
            assert!(
                config.turn.max_bytes >= config.blocks.most().bytes() && config.deadlines.rate > 0
            );
        }
    }
}
