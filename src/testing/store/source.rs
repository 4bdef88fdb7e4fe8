//! The conformance suite for a [`Source`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;

use super::{POLLS, length};
use crate::store::{Source, code_of};
use crate::types::{Meta, RelPath, Withdrawal};

/// Checks a source against each sentence of its contract that can be checked from outside.
///
/// `make` gives the same source, from its start, each time; `expected` is the content of the files that it yields, by
/// name. Nothing else may change them meanwhile.
///
/// # Panics
///
/// If a sentence is broken: the message names it.
pub fn check_source<S: Source>(mut make: impl FnMut() -> S, expected: &HashMap<RelPath, Vec<u8>>)
where
    S::Key: Debug,
{
    for len in [1, 7, 1000, 1 << 20] {
        let mut source = make();
        let rewound = source.rewind();
        assert!(rewound.is_ok(), "rewind of what is at its start: {rewound:?}");
        check_all(&mut source, expected, len);
        check_again(&mut source, expected);
    }
    for yielded in 0..=expected.len() {
        for begun in [Begun::Yielded, Begun::Opened, Begun::Read, Begun::Released] {
            let mut source = make();
            begin(&mut source, yielded, begun);
            check_again(&mut source, expected);
        }
    }
}

/// Progress of an entry before its source was rewound.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Begun {
    Yielded,
    Opened,
    Read,
    Released,
}

/// Leaves a source in the middle of a transfer, after so many entries.
fn begin<S: Source>(source: &mut S, entries: usize, begun: Begun) {
    for _ in 0..entries {
        let Some(entry) = source.next_entry() else { return };
        let Ok((key, meta)) = entry else { continue };
        if begun < Begun::Opened {
            continue;
        }
        let Ok(mut reader) = source.open(&key, &meta) else { continue };
        if begun >= Begun::Read {
            let count = read(source, &mut reader, 0, &mut [0; 100]);
            if begun == Begun::Released {
                source.release(&mut reader, length(count));
            }
        }
    }
}

/// Checks that, after whatever went before, a source yields everything again or reports that it cannot, and does so
/// as often as it is asked: never less than everything.
fn check_again<S: Source>(source: &mut S, expected: &HashMap<RelPath, Vec<u8>>)
where
    S::Key: Debug,
{
    for _ in 0..2 {
        match source.rewind() {
            Ok(()) => check_all(source, expected, 1 << 20),
            Err(error) => {
                let kind = error.kind();
                assert_eq!(kind, io::ErrorKind::NotSeekable, "rewind: {error}");
            }
        }
    }
}

fn check_all<S: Source>(source: &mut S, expected: &HashMap<RelPath, Vec<u8>>, len: usize)
where
    S::Key: Debug,
{
    let mut found = HashMap::new();
    while let Some(entry) = source.next_entry() {
        let Ok((key, meta)) = entry else { continue };
        if meta.kind != crate::types::Kind::File {
            continue;
        }
        let Some(bytes) = expected.get(&meta.path) else { panic!("{:?}: not expected", meta.path) };
        // A small buffer is for small files, or it takes for ever.
        if bytes.len() > len * 10_000 {
            found.insert(meta.path, ());
            continue;
        }
        check_entry(source, &key, &meta, bytes, len);
        assert!(found.insert(meta.path, ()).is_none(), "an entry is yielded twice");
    }
    assert_eq!(found.len(), expected.len(), "every entry is yielded");
    assert!(source.next_entry().is_none(), "nothing comes after the last entry");
}

fn check_entry<S: Source>(source: &mut S, key: &S::Key, meta: &Meta, bytes: &[u8], len: usize) {
    if let Some(size) = meta.size {
        assert_eq!(size, length(bytes.len()), "the size of {:?}", meta.path);
    }
    let opened = |opened: Result<S::Reader, Withdrawal>| match opened {
        Ok(reader) => reader,
        Err(withdrawal) => panic!("{:?}: open: {withdrawal}", meta.path),
    };
    let mut reader = opened(source.open(key, meta));
    let mut buffer = vec![0; len];
    let mut offset = 0;
    loop {
        let count = read(source, &mut reader, offset, &mut buffer);
        let (Some(read), Some(rest)) = (buffer.get(..count), bytes.get(offset..)) else {
            panic!("{:?}: read_at says {count} bytes, of a buffer of {len}", meta.path)
        };
        assert!(rest.starts_with(read), "{:?}: other bytes at {offset}", meta.path);
        if count == 0 {
            assert_eq!(offset, bytes.len(), "{:?}: 0 bytes before the end", meta.path);
            break;
        }
        // Until it is released, it may be asked for again.
        let again = read_again(source, &mut reader, offset, count);
        assert!(rest.starts_with(&again), "{:?}: other bytes at {offset} again", meta.path);
        offset += count;
        source.release(&mut reader, length(offset));
    }
    assert_eq!(source.finish(&mut reader, meta), Ok(()), "{:?}: finish", meta.path);
    // After a lost connection.
    let mut reader = opened(source.open(key, meta));
    assert_eq!(read(source, &mut reader, offset, &mut buffer), 0, "{:?}: opened again", meta.path);
}

fn read_again<S: Source>(
    source: &mut S,
    reader: &mut S::Reader,
    offset: usize,
    count: usize,
) -> Vec<u8> {
    let mut buffer = vec![0; count];
    let count = read(source, reader, offset, &mut buffer);
    assert!(count > 0, "what was read once is not there again");
    buffer.truncate(count);
    buffer
}

fn read<S: Source>(
    source: &mut S,
    reader: &mut S::Reader,
    offset: usize,
    buffer: &mut [u8],
) -> usize {
    for _ in 0..POLLS {
        match source.read_at(reader, length(offset), buffer) {
            Ok(count) => return count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("read_at {offset}: {error} (system error {})", code_of(&error)),
        }
    }
    panic!("read_at {offset}: no data")
}
