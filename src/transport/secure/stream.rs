//! A stream over another one: what is read is decrypted and proved, what is written is encrypted.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustls::{Connection, Error};

use super::tls::{self, Seen};
use crate::transport::Channel;
use crate::types::PublicKey;
use crate::types::tick::is_tick;

/// A stream of which both ends have proved who they are.
///
/// The handshake is done by the first calls of [`read`](Read::read) and [`write`](Write::write), so that the deadlines
/// of a session bind it; nothing is read and nothing is written before it has ended well. Errors that it ends with hold
/// a [`SecureError`].
///
/// Memory: up to 256 KiB of what was read, and 80 KiB of what is to be written, beside those of the stream below.
pub struct SecureStream<S: Read + Write> {
    io: S,
    tls: Connection,
    /// The key that was shown and not expected.
    seen: Seen,
    channel: Channel,
    /// Bytes that were read from the stream below and not given to `tls`: `start..end`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    phase: Phase,
    /// The stream below has ended.
    is_cut: bool,
    /// Set once something was written to the stream below that it may hold back.
    is_unflushed: bool,
    /// The last words of the handshake are not written yet; they go with the first bytes of content, if these come
    /// first.
    owes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was read yet.
    Fresh,
    Greeting,
    Open,
    /// The end is announced, or about to be.
    Closed,
    Failed,
}

/// Reason why a stream is not secure, or no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecureError {
    /// The other end proved to be somebody else than was [expected](super::Expect).
    #[error("the other end has the key {key}, which is not expected here")]
    Unexpected {
        /// Its key.
        key: PublicKey,
    },
    /// The other end uses another protocol: it sent a first byte that no TLS session begins with.
    #[error("the other end does not use TLS: its first byte is {byte:#04x}")]
    NotTls {
        /// The byte.
        byte: u8,
    },
    /// The other end uses TLS, but has nothing that is common to both: another version, another protocol, no raw keys.
    #[error("the other end uses TLS, but not haul's protocol")]
    Incompatible,
    /// The other end has ended the stream with an alert of TLS.
    #[error("the other end refused: TLS alert {alert}")]
    Refused {
        /// Its number (RFC 8446, section 6).
        alert: u8,
    },
    /// Bytes were changed, left out or added on the way, or somebody who does not have the keys made them.
    #[error("received bytes were changed on the way")]
    Damaged,
    /// The stream below ended without the end that TLS has.
    #[error("the stream was cut")]
    Cut,
}

impl<S: Read + Write> SecureStream<S> {
    pub(super) fn new(io: S, (tls, seen): (Connection, Seen)) -> Self {
        Self {
            io,
            tls,
            seen,
            channel: Channel::new(),
            input: Vec::new(),
            start: 0,
            end: 0,
            phase: Phase::Fresh,
            is_cut: false,
            is_unflushed: false,
            owes: false,
        }
    }

    /// Returns the key that the other end has proved to have; `None` before the handshake has
    /// ended.
    #[must_use]
    pub fn peer_key(&self) -> Option<PublicKey> {
        if self.phase == Phase::Open { tls::key_of_peer(&self.tls) } else { None }
    }

    /// Returns 32 bytes that both ends of this stream know, and that no other stream has: the exporter of TLS (RFC
    /// 8446, section 7.5). `None` before the handshake has ended.
    /// 7.5). `None` before the handshake has ended.
    #[must_use]
    pub fn binding(&self) -> Option<[u8; 32]> {
        if self.phase != Phase::Open {
            return None;
        }
        self.tls.export_keying_material([0; 32], BINDING, None).ok()
    }

    /// Returns the identity of the other end, for a caller that no longer has the stream when that is known: it
    /// is given to [`Transfer::channel`](crate::Transfer::channel) before the stream is.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Announces that nothing will follow, so that the other end can tell the end from a cut. Dropping the stream does
    /// it too, and gives up after a second; this fails with a tick, as a write does, and goes on when it is called
    /// again. Nothing can be read or written after it.
    ///
    /// # Errors
    ///
    /// As those of [`write`](Write::write).
    pub fn close(&mut self) -> io::Result<()> {
        if self.phase != Phase::Closed {
            self.greet()?;
            self.tls.send_close_notify();
            // `tls` counts on being given nothing from here on that it would have to send an alert for.
            self.phase = Phase::Closed;
        }
        self.write_out()?;
        self.io.flush()
    }

    /// Returns the stream below.
    pub const fn get_ref(&self) -> &S {
        &self.io
    }

    /// Asks for new keys of both directions; the request goes with what is written next.
    #[cfg(test)]
    #[cfg(feature = "testing")]
    pub(super) fn refresh_keys(&mut self) {
        self.tls.refresh_traffic_keys().expect("the handshake is over");
    }

    /// Ends the handshake, or fails as the stream below does: with a tick, after which it goes on.
    fn greet(&mut self) -> io::Result<()> {
        match self.phase {
            Phase::Open => return Ok(()),
            Phase::Closed | Phase::Failed => return Err(ErrorKind::NotConnected.into()),
            Phase::Fresh | Phase::Greeting => {}
        }
        let start = Instant::now();
        while self.tls.is_handshaking() {
            // Whoever dials has two things to send: its greeting, and its proof once all of the answer is there. What
            // it has to send between these waits, or both ends would write at once.
            if self.phase == Phase::Fresh || matches!(self.tls, Connection::Server(_)) {
                self.write_out()?;
                self.flush_io()?;
            }
            if self.tls.is_handshaking() {
                self.take_in()?;
                tick_after(start)?;
            }
        }
        self.owes = true;
        let key = tls::key_of_peer(&self.tls);
        let Some(key) = key.filter(|_| self.tls.alpn_protocol() == Some(tls::PROTOCOL)) else {
            return Err(self.fail(SecureError::Incompatible));
        };
        self.phase = Phase::Open;
        if let Some(binding) = self.binding() {
            self.channel.establish(binding, key);
        }
        Ok(())
    }

    /// Gives to `tls` what was read, after reading more if there is nothing.
    fn take_in(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.read_io()?;
        }
        if self.phase == Phase::Fresh && !self.is_cut {
            match self.input.first() {
                Some(&byte) if !RECORDS.contains(&byte) => {
                    // Whoever dialed with another protocol waits for an answer, and can show it.
                    if matches!(self.tls, Connection::Server(_)) {
                        let _ = self.io.write(ALERT).and_then(|_| self.io.flush());
                    }
                    return Err(self.fail(SecureError::NotTls { byte }));
                }
                _ => self.phase = Phase::Greeting,
            }
        }
        let mut rest = &self.input[self.start..self.end];
        let taken = self.tls.read_tls(&mut rest);
        self.start = self.end - rest.len();
        taken?;
        match self.tls.process_new_packets() {
            Ok(_) if self.is_cut && self.tls.is_handshaking() => Err(self.fail(SecureError::Cut)),
            Ok(_) => Ok(()),
            Err(error) => {
                let error = self.explain(&error);
                // The other end is informed, as far as it takes that at once.
                let _ = self.write_out().and_then(|()| self.io.flush());
                Err(self.fail(error))
            }
        }
    }

    fn read_io(&mut self) -> io::Result<()> {
        (self.start, self.end) = (0, 0);
        if self.input.is_empty() {
            self.input.resize(FIRST, 0);
        }
        let count = self.io.read(&mut self.input)?;
        if count > self.input.len() {
            return Err(lie());
        }
        self.is_cut = count == 0;
        self.end = count;
        if count == self.input.len() && count < READ {
            self.input.resize(READ.min(count * 4), 0);
        }
        Ok(())
    }

    /// Writes what is encrypted. It goes on where a tick has interrupted it.
    fn write_out(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            let count = self.tls.write_tls(&mut Honest(&mut self.io))?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.is_unflushed = true;
        }
        Ok(())
    }

    fn flush_io(&mut self) -> io::Result<()> {
        if self.is_unflushed {
            self.io.flush()?;
            self.is_unflushed = false;
        }
        Ok(())
    }

    fn explain(&self, error: &Error) -> SecureError {
        match error {
            Error::InvalidCertificate(_) => match self.seen.get() {
                Some(&key) => SecureError::Unexpected { key },
                None => SecureError::Damaged,
            },
            Error::AlertReceived(alert) => SecureError::Refused { alert: u8::from(*alert) },
            Error::PeerIncompatible(_)
            | Error::NoApplicationProtocol
            | Error::NoCertificatesPresented => SecureError::Incompatible,
            _ => SecureError::Damaged,
        }
    }

    fn fail(&mut self, error: SecureError) -> io::Error {
        self.phase = Phase::Failed;
        error.into()
    }
}

impl<S: Read + Write> Read for SecureStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.greet()?;
        if self.owes {
            self.write_out()?;
            self.flush_io()?;
            self.owes = false;
        }
        let start = Instant::now();
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(self.fail(SecureError::Cut));
                }
                read => return read,
            }
            // Whatever `tls` has to send meanwhile, such as a new key, waits for what is written next: a line may be
            // used in turns, and this is the turn of the other end.
            self.take_in()?;
            tick_after(start)?;
        }
    }
}

impl<S: Read + Write> Write for SecureStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.greet()?;
        // What an earlier call has taken comes first; until it is gone, nothing more is taken.
        if !self.owes {
            self.write_out()?;
        }
        self.owes = false;
        let count = self.tls.writer().write(&bytes[..bytes.len().min(PIECE)])?;
        match self.write_out() {
            Err(error) if !is_tick(&error) => Err(error),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.greet()?;
        self.write_out()?;
        self.io.flush()?;
        (self.is_unflushed, self.owes) = (false, false);
        Ok(())
    }
}

/// Announces to the other end that nothing will follow, if it takes that within a second: so it can tell the end from
/// a cut.
impl<S: Read + Write> Drop for SecureStream<S> {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Open | Phase::Closed) || self.is_cut {
            return;
        }
        let start = Instant::now();
        while let Err(error) = self.close() {
            if !is_tick(&error) || start.elapsed() >= FAREWELL {
                return;
            }
        }
    }
}

impl<S: Read + Write> std::fmt::Debug for SecureStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureStream")
            .field("phase", &self.phase)
            .field("peer_key", &self.peer_key())
            .finish_non_exhaustive()
    }
}

impl From<SecureError> for io::Error {
    fn from(error: SecureError) -> Self {
        let kind = match error {
            SecureError::Unexpected { .. } => ErrorKind::PermissionDenied,
            SecureError::NotTls { .. } | SecureError::Incompatible => ErrorKind::Unsupported,
            SecureError::Refused { .. } => ErrorKind::ConnectionAborted,
            SecureError::Damaged => ErrorKind::InvalidData,
            SecureError::Cut => ErrorKind::UnexpectedEof,
        };
        Self::new(kind, error)
    }
}

/// A writer that takes no more than it was given: `tls` counts on it.
struct Honest<'s, S>(&'s mut S);

impl<S: Write> Write for Honest<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.0.write(bytes)?;
        if count > bytes.len() { Err(lie()) } else { Ok(count) }
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let count = self.0.write_vectored(slices)?;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        if count > len { Err(lie()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Ends a call that has lasted a tick: a peer that drips its records byte by byte must not keep it, as the caller
/// checks its deadlines between calls.
fn tick_after(start: Instant) -> io::Result<()> {
    if start.elapsed() < CALL { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
}

fn lie() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the stream claims more bytes than it was given")
}

/// First bytes of a session of TLS: an alert, or a handshake (RFC 8446, section 5.1).
const RECORDS: [u8; 2] = [0x15, 0x16];

/// A record with this alert, in clear: `unexpected_message`, which is fatal (RFC 8446, section 6.2).
const ALERT: &[u8] = &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a];

/// Label for the exporter.
const BINDING: &[u8] = b"EXPORTER-haul-channel-1";

/// Bytes of the first read; four records, when that was too little, and more from then on.
const FIRST: usize = 16 * 1024;

/// Bytes that are read at once: 16 records.
const READ: usize = 256 * 1024;

/// Bytes that are encrypted at once: 4 records.
const PIECE: usize = 64 * 1024;

/// Longest time that a call goes on while nothing comes of the bytes that it reads: as long as the
/// contract of streams has it.
const CALL: Duration = Duration::from_secs(1);

/// Longest time for the closing messages.
const FAREWELL: Duration = Duration::from_secs(1);
