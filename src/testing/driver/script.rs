//! A peer that greets, and then sends nothing where an answer is due.

use std::io::{self, ErrorKind, Read, Write};

use super::log::Side;
use crate::testing::choices::Choices;
use crate::testing::forge::Forger;

/// A stream whose other end is played: without a thread, and always alike.
#[derive(Debug)]
pub(super) struct Script {
    peer: Forger<'static>,
    side: Side,
    act: Act,
    /// Bytes that were written and flushed; bytes that were written since.
    heard: Vec<u8>,
    kept: Vec<u8>,
    /// Bytes of the peer that were not read.
    said: Vec<u8>,
    /// Number of bytes received when the peer broke a rule.
    before: Option<usize>,
}

/// Next act of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Greet,
    /// Gives the floor back with nothing sent, which it must not.
    Break,
    Leave,
}

impl Script {
    /// Returns a peer of a driver that runs this side.
    pub(super) fn against(side: Side) -> Self {
        let peer = match side {
            Side::Sender => Forger::receiver(&[]),
            Side::Receiver => Forger::sender(&[]),
        };
        let (heard, kept, said) = (Vec::new(), Vec::new(), Vec::new());
        Self { peer, side, act: Act::Greet, heard, kept, said, before: None }
    }

    /// Returns whether anything was sent to the peer after it broke the rule.
    pub(super) fn has_heard_why(&self) -> bool {
        self.before.is_some_and(|before| self.heard.len() > before)
    }

    /// Plays on, as the side that listens.
    fn play(&mut self) {
        let mut choices = Choices::new(&[]);
        match self.act {
            Act::Greet if self.side == Side::Receiver => {
                self.peer.greet(&mut choices, &mut self.said);
                self.peer.pass(&mut self.said);
                self.act = Act::Break;
            }
            Act::Greet => {
                self.peer.greet(&mut choices, &mut self.said);
                if self.peer.bind(&self.heard) {
                    self.peer.pass(&mut self.said);
                }
                self.act = Act::Break;
            }
            Act::Break => {
                self.peer.bind(&self.heard);
                self.peer.pass(&mut self.said);
                self.before = Some(self.heard.len());
                self.act = Act::Leave;
            }
            Act::Leave => {}
        }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.said.is_empty() {
            self.play();
        }
        if self.said.is_empty() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let read = buffer.len().min(self.said.len());
        buffer[..read].copy_from_slice(&self.said[..read]);
        self.said.drain(..read);
        Ok(read)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.heard.append(&mut self.kept);
        Ok(())
    }
}
