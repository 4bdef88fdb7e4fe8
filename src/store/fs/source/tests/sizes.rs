//! Files whose size the system does not know.

use super::*;

/// One of `/proc`, whose size is given as 0, and one of `/sys`, given as 4096.
const MADE: [&str; 2] = ["/proc/version", "/sys/devices/system/cpu/online"];

/// Reads an entry as a session does, and gives its content.
fn read(source: &mut FsSource, key: &FsKey, meta: &Meta) -> Result<Vec<u8>, Withdrawal> {
    let mut reader = source.open(key, meta)?;
    let mut content = Vec::new();
    let mut buffer = [0; 100];
    loop {
        let offset = content.len() as u64;
        match source.read_at(&mut reader, offset, &mut buffer).unwrap() {
            0 => break,
            count => content.extend_from_slice(&buffer[..count]),
        }
    }
    source.finish(&mut reader, meta).map(|()| content)
}

#[test]
#[cfg(target_os = "linux")]
fn source_file_that_is_made_when_it_is_read_has_no_size_and_all_of_its_content() {
    for path in MADE.iter().filter(|path| Path::new(path).exists()) {
        let mut source = FsSource::new([path]).unwrap();
        let (key, meta) = source.next_entry().unwrap().unwrap();
        assert_eq!(meta.size, None, "{path}");
        assert_eq!(read(&mut source, &key, &meta), Ok(fs::read(path).unwrap()), "{path}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn source_file_that_holds_more_than_its_system_says_is_withdrawn() {
    let mut source = FsSource::new(["/proc/version"]).unwrap();
    let (key, meta) = source.next_entry().unwrap().unwrap();
    // As on a file system that nobody knows.
    let empty = Meta::file(meta.path, Some(0));
    let mut reader = source.open(&key, &empty).unwrap();
    assert_eq!(source.finish(&mut reader, &empty), Err(Withdrawal::FalseSize));
}

#[test]
fn source_ordinary_files_with_or_without_blocks_keep_their_size() {
    let dir = tempfile::tempdir().unwrap();
    let hole = File::create(dir.path().join("hole")).unwrap();
    hole.set_len(5000).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    fs::write(dir.path().join("full"), "full").unwrap();
    for (name, content) in [("hole", vec![0; 5000]), ("empty", vec![]), ("full", b"full".to_vec())]
    {
        let mut source = FsSource::new([dir.path().join(name)]).unwrap();
        let (key, meta) = source.next_entry().unwrap().unwrap();
        assert_eq!(meta.size, Some(content.len() as u64), "{name}");
        assert_eq!(read(&mut source, &key, &meta), Ok(content), "{name}");
    }
}
