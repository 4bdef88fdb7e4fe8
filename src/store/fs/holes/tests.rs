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

    fn next_data(&self, from: u64) -> rustix::io::Result<u64> {
        *self.seeks.borrow_mut() += 1;
        self.device.next_data(from)
    }

    fn next_hole(&self, from: u64) -> rustix::io::Result<u64> {
        *self.seeks.borrow_mut() += 1;
        self.device.next_hole(from)
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

    fn next_data(&self, from: u64) -> rustix::io::Result<u64> {
        // Behind the end there is no data.
        self.seek(from, true)?.ok_or(Errno::NXIO)
    }

    fn next_hole(&self, from: u64) -> rustix::io::Result<u64> {
        // Behind the end there is a hole.
        Ok(self.seek(from, false)?.unwrap_or(self.is_data.len() as u64))
    }
}

impl Map {
    fn seek(&self, from: u64, is_data: bool) -> rustix::io::Result<Option<u64>> {
        match self.answer {
            Answer::True => {}
            Answer::Fails(errno) => return Err(errno),
            Answer::Always(at) => return Ok(Some(at)),
        }
        let from = usize::try_from(from).unwrap();
        let found = self.is_data[from..].iter().position(|is| *is == is_data);
        Ok(found.map(|at| (from + at) as u64))
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

/// Returns the room that a file takes on its device, in bytes.
fn allocated(file: &File) -> u64 {
    stat::unsigned(fstat(file).unwrap().st_blocks) * 512
}

/// Returns a file of which some pieces were written, in units of 64 KiB: each with its own byte.
fn pieces(dir: &std::path::Path, name: &str, written: &[(u64, u64)], size: u64) -> File {
    let file =
        File::options().read(true).write(true).create_new(true).open(dir.join(name)).unwrap();
    file.set_len(size).unwrap();
    for (number, (at, len)) in written.iter().enumerate() {
        let byte = u8::try_from(number + 1).unwrap();
        let bytes = vec![byte; to_usize(len * UNIT)];
        file.write_all_at(&bytes, at * UNIT).unwrap();
    }
    file
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

const UNIT: u64 = 64 * 1024;

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

#[test]
fn copy_of_a_sparse_file_takes_the_room_of_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let size: u64 = 1 << 30;
    let from = pieces(dir.path(), "from", &[(3, 1), (9000, 2)], size);
    let to = pieces(dir.path(), "to", &[], 0);
    let step = 4 * UNIT;
    for at in (0..size).step_by(usize::try_from(step).unwrap()) {
        assert_eq!(copy(&from, &to, at..at + step).unwrap(), step);
    }
    assert_eq!(to.metadata().unwrap().len(), size, "a hole at the end is copied too");
    assert!(allocated(&to) <= allocated(&from) + UNIT, "{} bytes are taken", allocated(&to));
    let mut bytes = vec![0; to_usize(UNIT)];
    to.read_exact_at(&mut bytes, 9001 * UNIT).unwrap();
    assert_eq!(bytes, vec![2; bytes.len()]);
}

#[test]
fn copy_of_more_than_there_is_says_how_much_there_was() {
    let dir = tempfile::tempdir().unwrap();
    for written in [&[][..], &[(0, 1)], &[(2, 1)]] {
        let name = format!("from {written:?}");
        let from = pieces(dir.path(), &name, written, 3 * UNIT);
        let to = pieces(dir.path(), &format!("{name} to"), &[], 0);
        assert_eq!(copy(&from, &to, UNIT..4 * UNIT).unwrap(), 2 * UNIT, "{written:?}");
        assert_eq!(copy(&from, &to, 5 * UNIT..6 * UNIT).unwrap(), 0, "{written:?}");
        assert_eq!(content(&to)[to_usize(UNIT)..], content(&from)[to_usize(UNIT)..], "{written:?}");
    }
}

#[test]
fn clear_gives_the_room_back_and_touches_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = pieces(dir.path(), "x", &[(0, 4), (8, 4), (20, 1)], 32 * UNIT);
    let mut expected = content(&file);
    let before = allocated(&file);
    let range = UNIT + 1..11 * UNIT - 5;
    clear(&file, range.clone()).unwrap();
    expected[to_usize(range.start)..to_usize(range.end)].fill(0);
    assert_eq!(content(&file), expected);
    assert!(before - allocated(&file) >= 4 * UNIT, "{before} {}", allocated(&file));
    clear(&file, 30 * UNIT..100 * UNIT).unwrap();
    assert_eq!(content(&file), expected, "a file does not grow");
}

#[test]
fn clear_without_holes_writes_zeros_where_there_is_data() {
    let dir = tempfile::tempdir().unwrap();
    let file = pieces(dir.path(), "x", &[(0, 2), (5, 1)], 8 * UNIT);
    let mut expected = content(&file);
    write_zeros(&file, &(UNIT..UNIT + 3)).unwrap();
    write_zeros(&file, &(5 * UNIT - 2..7 * UNIT)).unwrap();
    expected[to_usize(UNIT)..to_usize(UNIT + 3)].fill(0);
    expected[to_usize(5 * UNIT - 2)..to_usize(7 * UNIT)].fill(0);
    assert_eq!(content(&file), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn copy_over_anything_gives_the_same_content_and_leaves_the_rest(
        old in proptest::collection::vec((0_u64..24, 1_u64..4), 0..4),
        new in proptest::collection::vec((0_u64..24, 1_u64..4), 0..4),
        sizes in (1_u64..30, 1_u64..30),
        range in (0_u64..30 * UNIT, 0_u64..30 * UNIT),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let from = pieces(dir.path(), "from", &new, sizes.0 * UNIT);
        let to = pieces(dir.path(), "to", &old, sizes.1 * UNIT);
        let (from_bytes, mut expected) = (content(&from), content(&to));
        let range = range.0.min(range.1)..range.0.max(range.1);
        let copied = copy(&from, &to, range.clone()).unwrap();
        let there = (from_bytes.len() as u64).clamp(range.start, range.end) - range.start;
        prop_assert_eq!(copied, there);
        let (start, end) = (to_usize(range.start), to_usize(range.start + copied));
        if copied > 0 {
            expected.resize(expected.len().max(end), 0);
            expected[start..end].copy_from_slice(&from_bytes[start..end]);
        }
        prop_assert_eq!(content(&to), expected);
    }
}
