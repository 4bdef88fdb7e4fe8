//! Holes of sparse files: found by asking the system, not by reading zeros; kept by a copy; made where zeros are due.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{Stat, fstat};
use rustix::io::Errno;

use super::{stat, sys};

/// Known extent of one open file: the one that was asked for last.
///
/// A file may change while it is read, and an extent with it. That is noticed when all of it was read, as any other
/// change is; an extent never leads beyond the size that the file had when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    size: u64,
    known: Range<u64>,
    is_hole: bool,
}

/// Questions to a file.
pub(super) trait Device {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns where the next data begins. [`Errno::NXIO`]: there is none.
    fn next_data(&self, from: u64) -> rustix::io::Result<u64>;

    /// Returns where the next hole begins; there is one behind the end.
    fn next_hole(&self, from: u64) -> rustix::io::Result<u64>;
}

impl Extents {
    pub(super) fn of(stat: &Stat) -> Self {
        let (size, blocks) = (stat::size(stat), stat::unsigned(stat.st_blocks));
        // What takes as much room as it is long has no holes: most files are not asked about at all.
        let is_sparse = blocks.saturating_mul(512) < size;
        let known = if is_sparse { 0..0 } else { ALL };
        Self { size, known, is_hole: false }
    }

    /// Reads within one extent. Nothing of a hole is read from the device.
    pub(super) fn read_at(
        &mut self,
        device: &impl Device,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.look(device, offset);
        if !self.known.contains(&offset) {
            return device.read_at(buffer, offset);
        }
        let room = usize::try_from(self.known.end - offset).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room) else { return Ok(0) };
        if !self.is_hole {
            return device.read_at(buffer, offset);
        }
        buffer.fill(0);
        Ok(room)
    }

    /// Sees to it that the extent of `offset` is known, if that is within the file.
    fn look(&mut self, device: &impl Device, offset: u64) {
        if offset < self.size && !self.known.contains(&offset) {
            (self.known, self.is_hole) = self.find(device, offset);
        }
    }

    /// Returns the extent from `offset` on, and whether it is a hole.
    fn find(&self, device: &impl Device, offset: u64) -> (Range<u64>, bool) {
        match device.next_data(offset) {
            Ok(data) if data > offset => (offset..data.min(self.size), true),
            // No data from here to the end.
            Err(Errno::NXIO) => (offset..self.size, true),
            Ok(data) if data == offset => match device.next_hole(offset) {
                Ok(hole) if hole > offset => (offset..hole, false),
                _ => (ALL, false),
            },
            // The file system cannot tell (`EINVAL`), or talks nonsense: then all of it is read.
            _ => (ALL, false),
        }
    }
}

impl Device for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn next_data(&self, from: u64) -> rustix::io::Result<u64> {
        sys::next_data(self, from)
    }

    fn next_hole(&self, from: u64) -> rustix::io::Result<u64> {
        sys::next_hole(self, from)
    }
}

/// Copies a range of one file to its place in another, where holes become holes. Returns how many bytes were there to
/// be copied.
///
/// Where the system can, it copies without the bytes passing through here.
pub(super) fn copy(mut from: &File, mut to: &File, range: Range<u64>) -> io::Result<u64> {
    let mut extents = Extents::of(&fstat(from)?);
    let end = range.end.min(extents.size);
    let mut at = range.start;
    while at < end {
        extents.look(from, at);
        let run = at..extents.known.end.min(end);
        if extents.is_hole {
            clear(to, run.clone())?;
        } else {
            from.seek(io::SeekFrom::Start(at))?;
            to.seek(io::SeekFrom::Start(at))?;
            let len = run.end - at;
            if io::copy(&mut from.take(len), &mut to)? < len {
                // It is shorter than it was.
                break;
            }
        }
        at = run.end;
    }
    // What ends in a hole is as long as what was copied.
    if at > range.start && to.metadata()?.len() < at {
        to.set_len(at)?;
    }
    Ok(at.saturating_sub(range.start))
}

/// Makes a range of a file zeros: a hole where the system makes one, else written, and only where there is data.
///
/// What lies behind the end of the file reads as zeros once the file is that long, and is left alone.
pub(super) fn clear(file: &File, range: Range<u64>) -> io::Result<()> {
    let end = range.end.min(file.metadata()?.len());
    let mut at = range.start;
    while at < end {
        at = match sys::next_data(file, at) {
            Ok(data) => data.max(at),
            Err(Errno::NXIO) => return Ok(()),
            // The file system cannot tell: all of it is taken for data.
            Err(_) => at,
        };
        let hole = sys::next_hole(file, at).ok().filter(|hole| *hole > at).unwrap_or(end);
        let data = at..hole.min(end);
        if data.is_empty() {
            return Ok(());
        }
        match sys::punch_hole(file, &data) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(file, &data)?,
            Err(errno) => return Err(errno.into()),
        }
        at = data.end;
    }
    Ok(())
}

fn write_zeros(file: &File, range: &Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let piece = usize::try_from(range.end - at).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// Zeros that are written at a time where no hole can be made.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

const ALL: Range<u64> = 0..u64::MAX;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "sparse files are made and read")]
mod tests;
