//! Blocks of an entry that are to come again, and reports of those that are kept.

/// Blocks that are asked for again, and how often that was done.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Set if a block came damaged since blocks were last asked for again.
    is_damaged: bool,
    /// Blocks that were asked for again and have not come since.
    asked: u64,
    rounds: u32,
    /// Set if blocks were verified since that was last reported.
    has_gained: bool,
    /// Set if it goes on from an earlier connection, and what was kept is to be reported.
    is_resumed: bool,
}

impl Repair {
    /// Forgets what is to come again: the entry begins anew.
    pub(super) const fn restart(&mut self) {
        (self.is_damaged, self.asked, self.has_gained) = (false, 0, false);
    }

    /// Goes on, on a new connection.
    pub(super) const fn resume(&mut self) {
        self.restart();
        self.is_resumed = true;
    }

    /// Notes that all that was written is to come again.
    pub(super) const fn put_off(&mut self) {
        self.restart();
        self.is_damaged = true;
    }

    /// Notes that a block came damaged.
    pub(super) const fn damage(&mut self) {
        self.is_damaged = true;
    }

    /// Notes that blocks came, so many of them again.
    pub(super) const fn came_again(&mut self, blocks: u64) {
        self.asked = self.asked.saturating_sub(blocks);
    }

    /// Notes that blocks were verified.
    pub(super) const fn gain(&mut self) {
        self.has_gained = true;
    }

    /// Asks for so many blocks again. Returns how often that was done.
    pub(super) const fn ask(&mut self, blocks: u64) -> u32 {
        (self.is_damaged, self.asked) = (false, blocks);
        self.rounds = self.rounds.saturating_add(1);
        self.rounds
    }

    /// Takes whether blocks were verified since that was last said.
    pub(super) const fn take_gained(&mut self) -> bool {
        std::mem::replace(&mut self.has_gained, false)
    }

    /// Takes whether the sender is to hear what was kept from an earlier connection.
    pub(super) const fn take_resumed(&mut self) -> bool {
        std::mem::replace(&mut self.is_resumed, false)
    }

    /// Returns whether blocks are to be asked for again. `has_ended`: all was sent once. What was asked for and is still to come
    /// is not asked for again, unless the sender waits for an answer.
    pub(super) const fn is_due(&self, has_ended: bool, is_waited_for: bool) -> bool {
        self.is_damaged || has_ended && (self.asked == 0 || is_waited_for)
    }

    /// Returns whether a block ever came damaged, or was asked for again.
    pub(super) const fn was_needed(&self) -> bool {
        self.is_damaged || self.rounds > 0
    }
}
