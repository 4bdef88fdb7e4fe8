//! Holes of sparse files: found by asking the system, not by reading zeros.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, Stat, seek};
use rustix::io::Errno;

use super::stat;

/// What is known of one open file: the extent that was asked for last.
///
/// A file may change while it is read, and an extent with it. That is noticed when all of it was read, as any other
/// change is; what an extent says never leads beyond the size that the file had when it was opened.
#[derive(Debug, Clone)]
pub(super) struct Extents {
    size: u64,
    known: Range<u64>,
    is_hole: bool,
}

/// What is asked of a file.
pub(super) trait Device {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Where the next data, or the next hole, begins.
    fn seek(&self, to: SeekFrom) -> rustix::io::Result<u64>;
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
        if offset < self.size && !self.known.contains(&offset) {
            (self.known, self.is_hole) = self.find(device, offset);
        }
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

    /// The extent from `offset` on, and whether it is a hole.
    fn find(&self, device: &impl Device, offset: u64) -> (Range<u64>, bool) {
        match device.seek(SeekFrom::Data(offset)) {
            Ok(data) if data > offset => (offset..data.min(self.size), true),
            // No data from here to the end.
            Err(Errno::NXIO) => (offset..self.size, true),
            Ok(data) if data == offset => match device.seek(SeekFrom::Hole(offset)) {
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

    fn seek(&self, to: SeekFrom) -> rustix::io::Result<u64> {
        seek(self, to)
    }
}

const ALL: Range<u64> = 0..u64::MAX;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "sparse files are made and read")]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    /// A file that writes down what is asked of it.
    struct Watched<D> {
        device: D,
        reads: RefCell<Vec<Range<u64>>>,
        seeks: RefCell<usize>,
    }

    fn watched<D>(device: D) -> Watched<D> {
        Watched { device, reads: RefCell::default(), seeks: RefCell::default() }
    }

    impl<D: Device> Device for Watched<D> {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let count = self.device.read_at(buffer, offset)?;
            self.reads.borrow_mut().push(offset..offset + buffer.len() as u64);
            Ok(count)
        }

        fn seek(&self, to: SeekFrom) -> rustix::io::Result<u64> {
            *self.seeks.borrow_mut() += 1;
            self.device.seek(to)
        }
    }

    /// A file of which each byte is data or a hole.
    #[derive(Debug, Clone)]
    struct Map {
        bytes: Vec<u8>,
        is_data: Vec<bool>,
        answer: Answer,
    }

    #[derive(Debug, Clone, Copy)]
    enum Answer {
        True,
        Fails(Errno),
        Always(u64),
    }

    impl Device for Map {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let start = usize::try_from(offset).unwrap().min(self.bytes.len());
            let count = buffer.len().min(self.bytes.len() - start);
            buffer[..count].copy_from_slice(&self.bytes[start..start + count]);
            Ok(count)
        }

        fn seek(&self, to: SeekFrom) -> rustix::io::Result<u64> {
            let (from, data) = match to {
                SeekFrom::Data(from) => (from, true),
                SeekFrom::Hole(from) => (from, false),
                _ => return Err(Errno::INVAL),
            };
            match self.answer {
                Answer::True => {}
                Answer::Fails(errno) => return Err(errno),
                Answer::Always(at) => return Ok(at),
            }
            let from = usize::try_from(from).unwrap();
            let found = self.is_data[from..].iter().position(|is| *is == data);
            match found {
                Some(at) => Ok((from + at) as u64),
                // Behind the end there is a hole, and no data.
                None if data => Err(Errno::NXIO),
                None => Ok(self.is_data.len() as u64),
            }
        }
    }

    fn extents(size: u64) -> Extents {
        Extents { size, known: 0..0, is_hole: false }
    }

    fn read_all(extents: &mut Extents, device: &impl Device, piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buffer = vec![7; piece];
        loop {
            match extents.read_at(device, all.len() as u64, &mut buffer).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    }

    #[test]
    fn holes_of_a_file_system_that_cannot_tell_are_read() {
        let bytes = vec![3; 40];
        for answer in [
            Answer::Fails(Errno::INVAL),
            Answer::Fails(Errno::OPNOTSUPP),
            Answer::Fails(Errno::IO),
            Answer::Always(0),
            Answer::Always(5),
        ] {
            let map = Map { bytes: bytes.clone(), is_data: vec![true; 40], answer };
            let device = watched(map);
            let mut extents = extents(40);
            // From 8 on: what lies before is no answer to where the next data is.
            let mut buffer = [0; 64];
            assert_eq!(extents.read_at(&device, 8, &mut buffer).unwrap(), 32, "{answer:?}");
            assert_eq!(buffer[..32], [3; 32]);
            assert_eq!(extents.read_at(&device, 20, &mut buffer).unwrap(), 20);
            assert!(*device.seeks.borrow() <= 2, "it is not asked again");
        }
    }

    #[test]
    fn holes_never_reach_beyond_the_size_that_was_seen() {
        // It was truncated, and then it grew.
        for answer in [Answer::Fails(Errno::NXIO), Answer::Always(1 << 40)] {
            let device = watched(Map { bytes: vec![3; 50], is_data: vec![true; 50], answer });
            let mut extents = extents(40);
            let mut buffer = [7; 64];
            assert_eq!(extents.read_at(&device, 10, &mut buffer).unwrap(), 30);
            assert_eq!(buffer[..30], [0; 30]);
            assert_eq!(extents.read_at(&device, 40, &mut buffer).unwrap(), 10);
            assert_eq!(buffer[..10], [3; 10]);
            assert_eq!(extents.read_at(&device, 50, &mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn holes_of_a_real_file_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse");
        let size: u64 = 1 << 30;
        let file = File::create_new(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"one", 1 << 20).unwrap();
        file.write_all_at(b"two", (3 << 28) + 5).unwrap();
        let device = watched(File::open(&path).unwrap());
        let mut extents = Extents::of(&rustix::fs::fstat(&device.device).unwrap());
        let mut buffer = vec![7; 8 << 20];
        let zeros = vec![0; buffer.len()];
        let (mut at, mut found) = (0, Vec::new());
        while at < size {
            let count = extents.read_at(&device, at, &mut buffer).unwrap();
            if buffer[..count] != zeros[..count] {
                let bytes = buffer[..count].iter().zip(at..);
                found.extend(bytes.filter(|(byte, _)| **byte != 0).map(|(byte, at)| (at, *byte)));
            }
            at += count as u64;
        }
        assert_eq!(at, size);
        let three = 3 << 28;
        let expected = [
            ((1 << 20), b'o'),
            ((1 << 20) + 1, b'n'),
            ((1 << 20) + 2, b'e'),
            (three + 5, b't'),
            (three + 6, b'w'),
            (three + 7, b'o'),
        ];
        assert_eq!(found, expected);
        // Two pieces of data of a block of the file system each; that may be large, but not a gigabyte.
        let read: u64 = device.reads.borrow().iter().map(|read| read.end - read.start).sum();
        assert!(read <= 8 << 20, "{read} bytes were read");
        assert!(*device.seeks.borrow() <= 7, "{} seeks", device.seeks.borrow());
    }

    #[test]
    fn holes_of_a_dense_file_are_not_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dense");
        std::fs::write(&path, vec![0; 100_000]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        let device = watched(file);
        let mut extents = Extents::of(&rustix::fs::fstat(&device.device).unwrap());
        assert_eq!(read_all(&mut extents, &device, 4096), vec![0; 100_000]);
        assert_eq!(*device.seeks.borrow(), 0);
    }

    proptest! {
        #[test]
        fn holes_of_any_layout_read_as_zeros_and_are_not_touched(
            runs in proptest::collection::vec((any::<bool>(), 1_usize..40), 0..12),
            reads in proptest::collection::vec((0_usize..500, 0_usize..90), 1..30),
            piece in 1_usize..100,
        ) {
            let is_data: Vec<_> =
                runs.iter().flat_map(|(data, len)| vec![*data; *len]).collect();
            let byte = |(at, data): (usize, &bool)| if *data { u8::try_from(1 + at % 255).unwrap() } else { 0 };
            let bytes: Vec<_> = is_data.iter().enumerate().map(byte).collect();
            let device = watched(Map { bytes: bytes.clone(), is_data, answer: Answer::True });
            let size = bytes.len() as u64;
            prop_assert_eq!(&read_all(&mut extents(size), &device, piece), &bytes);
            prop_assert!(*device.seeks.borrow() <= 2 * runs.len());
            let mut one = extents(size);
            for (offset, len) in reads {
                let mut buffer = vec![7; len];
                let count = one.read_at(&device, offset as u64, &mut buffer).unwrap();
                let start = offset.min(bytes.len());
                prop_assert_eq!(&buffer[..count], &bytes[start..start + count]);
                prop_assert_eq!(count == 0, len == 0 || offset >= bytes.len());
            }
            for read in device.reads.borrow().iter() {
                let start = usize::try_from(read.start).unwrap();
                let end = usize::try_from(read.end).unwrap().min(bytes.len());
                let touched = device.device.is_data.get(start..end).unwrap_or_default();
                prop_assert!(touched.iter().all(|is_data| *is_data), "{read:?}");
            }
        }
    }
}
