//! A store that counts the files that it has lent, and a stream that is cut, or has lasted too long.
#![expect(clippy::disallowed_methods, reason = "a check that must end looks at the clock")]

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::store::{Begun, Ended, Store, Uncommitted};
use crate::types::{Commit, Offer, Place, Refusal, Standing, Ticket, TransferId};

/// How long a session may last, before its streams fail: far longer than any needs.
const LONGEST: Duration = Duration::from_secs(60);

/// A store that counts the files that are out.
#[derive(Debug)]
pub(super) struct Lent<S> {
    inner: S,
    pub(super) out: u64,
}

impl<S> Lent<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, out: 0 }
    }
}

impl<S: Store> Store for Lent<S> {
    type File = S::File;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
    }

    fn standing(&mut self, offer: &Offer) -> Option<Standing> {
        self.inner.standing(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<S::File>, Refusal> {
        let begun = self.inner.begin(offer, place)?;
        self.out += 1;
        Ok(begun)
    }

    fn is_contended(&mut self, file: &S::File) -> bool {
        self.inner.is_contended(file)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, offset, buffer)
    }

    fn write_at(&mut self, file: &mut S::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, offset, bytes)
    }

    fn write_zeros(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.write_zeros(file, offset, len)
    }

    fn copy_held(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, offset, len)
    }

    fn commit(&mut self, file: S::File, commit: Commit) {
        self.out -= 1;
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        let ended = self.inner.poll_committed(wait);
        if let Some((_, Err(Uncommitted::Taken { rival, .. }))) = &ended {
            self.out += 1 + u64::from(rival.is_some());
        }
        ended
    }

    fn suspend(&mut self, file: S::File) {
        self.out -= 1;
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: S::File) {
        self.out -= 1;
        self.inner.discard(file);
    }
}

/// A stream that is lost after so many bytes were read, or once it has lasted too long.
#[derive(Debug)]
pub(super) struct Watched<T> {
    inner: T,
    left: usize,
    began: Instant,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, cut: Option<usize>) -> Self {
        Self { inner, left: cut.unwrap_or(usize::MAX), began: Instant::now() }
    }

    fn check(&self) -> io::Result<()> {
        let is_lost = self.left == 0 || self.began.elapsed() > LONGEST;
        if is_lost { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl<T: Read> Read for Watched<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let most = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl<T: Write> Write for Watched<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.inner.flush()
    }
}
