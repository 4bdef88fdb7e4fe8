//! Holes: what is cheap to send must not be dear to keep.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;

use super::*;
use crate::config::{Config, IfExists};
use crate::drive::Transfer;
use crate::store::fs::FsSource;
use crate::transport::memory;

const MIB: u64 = 1 << 20;

/// Makes a file of one GiB with 256 KiB of data in the middle, and some more at `also`.
fn sparse(path: &Path, also: u64) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(1024 * MIB).unwrap();
    file.write_all_at(&[7; 256 * 1024], 512 * MIB).unwrap();
    file.write_all_at(b"new", also).unwrap();
    file
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn sparse_file_that_is_replaced_for_one_changed_block_stays_sparse() {
    let mut bench = Bench::new();
    let (old, new) = (bench.path("disk.img"), bench.dir.path().join("disk.img"));
    sparse(&old, 0);
    sparse(&new, 800 * MIB);
    let config = Config::default().if_exists(IfExists::Replace).durability(Durability::Received);
    let (alice, bob) = memory::pipe((1 << 16).try_into().unwrap());
    let receiver = config.clone();
    let sent = thread::scope(|scope| {
        scope.spawn(|| Transfer::new(receiver).receive(&mut bench.store, bob).unwrap());
        Transfer::new(config).send(&mut FsSource::new([&new]).unwrap(), alice).unwrap()
    });
    assert_eq!(sent.delivered, 1);
    assert!(sent.sent <= MIB, "{} bytes travelled", sent.sent);
    assert!(allocated(&old) <= 2 * MIB, "{} bytes are taken", allocated(&old));
    let mut bytes = [0; 3];
    File::open(&old).unwrap().read_exact_at(&mut bytes, 800 * MIB).unwrap();
    assert_eq!(&bytes, b"new");
}

#[test]
fn zeros_over_a_sparse_partial_take_no_room() {
    let mut bench = Bench::new();
    let offer = bench.offer(Meta::file(rel("x"), Some(1024 * MIB)));
    for _ in 0..2 {
        let (mut file, Found::Fresh | Found::Partial(_)) =
            bench.begin(&offer, Place::Offered).unwrap()
        else {
            panic!("nothing has the name")
        };
        bench.store.write_at(&mut file, 1023 * MIB, b"x").unwrap();
        for run in 0..63 {
            bench.store.write_zeros(&mut file, run * 16 * MIB, 16 * MIB).unwrap();
        }
        bench.store.suspend(file);
        let partial = bench.names().into_keys().next().unwrap();
        let taken = allocated(&bench.path(&partial));
        assert!(taken <= MIB, "{taken} bytes are taken");
    }
    let (mut file, Found::Partial(_)) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("it was left")
    };
    bench.store.write_zeros(&mut file, 1023 * MIB, MIB).unwrap();
    let mut byte = [1];
    bench.store.read_at(&mut file, 1023 * MIB, &mut byte).unwrap();
    assert_eq!(byte, [0]);
    bench.store.discard(file);
}

/// Sizes at which a count of 31 or 32 bits is full, and those beside them.
#[test]
fn file_of_two_or_four_gib_is_written_gone_on_with_and_committed_to_its_last_byte() {
    for size in [1_u64 << 31, 1 << 32].into_iter().flat_map(|size| [size - 1, size, size + 1]) {
        let mut bench = Bench::new();
        let offer = bench.offer(Meta::file(rel("x"), Some(size)));
        let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("nothing has the name")
        };
        bench.store.write_zeros(&mut file, 0, size - 1).unwrap();
        bench.store.write_at(&mut file, size - 1, b"z").unwrap();
        bench.store.suspend(file);
        let (mut file, Found::Partial(len)) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("it was left")
        };
        assert_eq!(len, size);
        let mut last = [0; 8];
        let read = bench.store.read_at(&mut file, size - 2, &mut last).unwrap();
        assert_eq!(&last[..read], b"\0z", "{size}");
        assert_eq!(bench.commit(file, &offer, size), Ok(Committed::new(rel("x"))), "{size}");
        assert_eq!(fs::metadata(bench.path("x")).unwrap().len(), size);
        assert!(allocated(&bench.path("x")) <= MIB, "{size}");
    }
}

/// The same from end to end. Its zeros are hashed by both sides, so that it takes seconds.
#[test]
fn file_of_exactly_two_gib_arrives_and_of_four_where_there_is_time() {
    let sizes = if std::env::var_os("HAUL_LONG").is_some() { 1..3 } else { 1..2 };
    for size in sizes.map(|times| times << 31) {
        let mut bench = Bench::new();
        let path = bench.dir.path().join("disk.img");
        let file = File::create_new(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
        let (alice, bob) = memory::pipe((1 << 16).try_into().unwrap());
        let config = Config::default().durability(Durability::Received);
        let receiver = config.clone();
        let sent = thread::scope(|scope| {
            scope.spawn(|| Transfer::new(receiver).receive(&mut bench.store, bob).unwrap());
            Transfer::new(config).send(&mut FsSource::new([&path]).unwrap(), alice).unwrap()
        });
        assert_eq!((sent.delivered, sent.bytes), (1, size));
        let arrived = File::open(bench.path("disk.img")).unwrap();
        assert_eq!(arrived.metadata().unwrap().len(), size);
        let mut end = [0; 4];
        arrived.read_exact_at(&mut end, size - 4).unwrap();
        assert_eq!(&end, b"\0end");
    }
}

#[test]
fn sparse_file_that_is_larger_than_the_free_space_is_checked_by_its_data() {
    let mut bench = Bench::new();
    let size = 1 << 60;
    let whole = bench.offer(Meta::file(rel("whole"), Some(size)));
    let refused = bench.begin(&whole, Place::Offered).err();
    assert!(matches!(refused, Some(Refusal::NoSpace { needed, .. }) if needed == size));
    let large = bench.offer(Meta::file(rel("large"), Some(size)).data(Some(size / 2)));
    let refused = bench.begin(&large, Place::Offered).err();
    assert!(matches!(refused, Some(Refusal::NoSpace { needed, .. }) if needed == size / 2));
    let holed = bench.offer(Meta::file(rel("holed"), Some(size)).data(Some(1)));
    let Ok((file, Found::Fresh)) = bench.begin(&holed, Place::Offered) else { panic!("it fits") };
    bench.store.discard(file);
    bench.assert_names(&[]);
}

#[test]
fn source_tells_how_much_of_a_sparse_file_is_no_hole() {
    use crate::store::Source;
    let bench = Bench::new();
    sparse(&bench.path("disk.img"), 0);
    fs::write(bench.path("whole"), [7; 4096]).unwrap();
    File::create(bench.path("small")).unwrap().set_len(4096).unwrap();
    for (name, is_told) in [("disk.img", true), ("whole", false), ("small", false)] {
        let mut source = FsSource::new([bench.path(name)]).unwrap();
        let (_, meta) = source.next_entry().unwrap().unwrap();
        let expected = Some(allocated(&bench.path(name))).filter(|_| is_told);
        assert_eq!(meta.data, expected, "{name}");
        assert!(expected.is_none_or(|data| (256 * 1024..=MIB).contains(&data)));
    }
}
