use super::*;
use crate::hash::BlockSize;
use crate::types::{Durability, Found};

const TICKET: Ticket = Ticket::new([3; 16], 4);

fn offer(entry: u32, name: &str, size: Option<u64>) -> Offer {
    let path = RelPath::parse(name.as_bytes()).unwrap();
    Offer::new(EntryId::new(entry), Meta::file(path, size), BlockSize::MIN)
}

fn take(store: &mut MemoryStore, offer: &Offer, place: Place) -> MemoryFile {
    store.begin(offer, place).unwrap().0
}

#[test]
fn memory_store_of_a_capacity_refuses_what_is_beyond_it_with_numbers() {
    let mut store = MemoryStore::with_capacity(10);
    let refused = |needed, available| Some(Refusal::NoSpace { needed, available });
    let big = offer(0, "big", Some(11));
    assert_eq!(store.begin(&big, Place::Offered).err(), refused(11, 10));
    let pipe = offer(1, "pipe", None);
    let mut file = take(&mut store, &pipe, Place::Offered);
    assert_eq!(store.write_at(&mut file, 0, b"01234567"), Ok(()));
    assert_eq!(store.write_at(&mut file, 8, b"abc").err(), refused(3, 2));
    let far = store.write_at(&mut file, u64::MAX, b"x").err();
    assert_eq!(far, refused(u64::MAX - 8, 2));
    assert_eq!(
        store.write_at(&mut file, 4, b"4567ab"),
        Ok(()),
        "what is held is not counted twice"
    );
    store.suspend(file);
    let next = offer(2, "next", Some(1));
    assert_eq!(store.begin(&next, Place::Offered).err(), refused(1, 0));
    assert_eq!(store.partials().len(), 1, "what is refused leaves nothing");
    store.set_capacity(11);
    let mut file = take(&mut store, &next, Place::Offered);
    assert_eq!(store.write_at(&mut file, 0, b"x"), Ok(()));
    store.discard(file);
    // To replace a file takes room for both, until it is done.
    let file = take(&mut store, &pipe, Place::Offered);
    let meta = pipe.meta.clone();
    store.commit(
        file,
        Commit::new(TICKET, pipe.entry, meta, Place::Offered, 9, Durability::Received),
    );
    let (ticket, ended) = store.poll_committed(Duration::ZERO).unwrap();
    assert_eq!((ticket, ended.unwrap()), (TICKET, Committed::new(pipe.meta.path.clone())));
    let again = offer(1, "pipe", Some(3));
    assert_eq!(store.begin(&again, Place::Replacing).err(), refused(3, 2));
    assert_eq!(&*store.get("pipe").unwrap().bytes, b"01234567a");
}

#[test]
fn memory_file_dropped_is_suspended() {
    let mut store = MemoryStore::new();
    let x = offer(0, "x", Some(4));
    let mut file = take(&mut store, &x, Place::Offered);
    assert_eq!(store.write_at(&mut file, 0, b"ab"), Ok(()));
    let mut other = store.clone();
    let second = take(&mut other, &x, Place::Offered);
    drop(second);
    drop(file);
    assert!(matches!(other.begin(&x, Place::Offered), Ok((_, Found::Partial(2)))));
    assert_eq!(store.partials(), [(x.meta.path.clone(), b"ab".to_vec())]);
}

#[test]
fn memory_store_goes_on_with_the_longest_partial_file() {
    let mut store = MemoryStore::new();
    let x = offer(0, "x", Some(4));
    let mut files = [(); 2].map(|()| take(&mut store, &x, Place::Offered));
    for (file, bytes) in files.iter_mut().zip([&b"ab"[..], b"abc"]) {
        assert_eq!(store.write_at(file, 0, bytes), Ok(()));
    }
    drop(files);
    assert!(matches!(store.begin(&x, Place::Offered), Ok((_, Found::Partial(3)))));
}

#[test]
fn memory_store_keeps_links_and_folders_with_their_time_and_mode() {
    let mut store = MemoryStore::new();
    let path = |name: &str| RelPath::parse(name.as_bytes()).unwrap();
    let time = Timestamp::new(5, 6);
    let metas = [
        Meta::symlink(path("d/l"), (*b"x").into()).modified(time),
        Meta::directory(path("d")).modified(time).mode(Some(0o750)),
    ];
    for (n, meta) in (0..).zip(&metas) {
        let offer = Offer::new(EntryId::new(n), meta.clone(), BlockSize::MIN);
        let file = take(&mut store, &offer, Place::Offered);
        store.commit(
            file,
            Commit::new(TICKET, offer.entry, meta.clone(), Place::Offered, 0, Durability::Synced),
        );
        assert!(matches!(store.poll_committed(Duration::ZERO), Some((_, Ok(_)))));
    }
    for meta in &metas {
        assert_eq!(store.get(meta.path.as_bytes()), Some(MemoryEntry::from(meta)));
    }
    assert_eq!((store.entries().len(), store.files().len()), (2, 0));
}

#[cfg(feature = "testing")]
#[test]
fn partial_file_in_memory_that_is_swapped_gets_no_name_and_is_not_removed() {
    use crate::store::Foul;

    let mut store = MemoryStore::new();
    let x = offer(0, "x", Some(4));
    for is_kept in [false, true] {
        let mut file = take(&mut store, &x, Place::Offered);
        store.meddle(Foul::SwapPartial(0, b"foul".to_vec()));
        assert_eq!(store.write_at(&mut file, 0, b"mine"), Err(Refusal::Tampered));
        if is_kept {
            store.discard(file);
        } else {
            let meta = x.meta.clone();
            let level = Durability::Received;
            store.commit(file, Commit::new(TICKET, x.entry, meta, Place::Offered, 4, level));
            let ended = store.poll_committed(Duration::ZERO).map(|(_, ended)| ended.is_ok());
            assert_eq!((ended, store.files().len()), (Some(false), 0));
        }
        assert_eq!(store.partials(), [(x.meta.path.clone(), b"foul".to_vec())]);
    }
}
