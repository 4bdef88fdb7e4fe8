use super::*;

const SECRET: Withdrawal = Withdrawal::Secret;

fn except(source: FsSource, path: &Path) -> FsSource {
    let meta = fs::metadata(path).unwrap();
    source.except(meta.dev(), meta.ino())
}

#[test]
fn source_excepted_file_is_sent_under_no_name_and_by_no_way() {
    let dir = tree();
    let root = dir.path().join("t");
    let (key, copy, linked) = (root.join("b/key"), root.join("b/c/copy"), root.join("linked"));
    fs::write(&key, "secret").unwrap();
    fs::hard_link(&key, copy).unwrap();
    fs::create_dir(dir.path().join("aside")).unwrap();
    fs::hard_link(&key, dir.path().join("aside/key")).unwrap();
    symlink("b/key", linked).unwrap();
    symlink("../aside", root.join("folder")).unwrap();
    for links in [Symlinks::Skip, Symlinks::Preserve, Symlinks::Follow] {
        let source = || except(FsSource::new([&root]).unwrap().symlinks(links), &key);
        let seen = walk(&mut source());
        let sent = |seen: &Seen, what: &str| seen.iter().flatten().any(|(name, _)| name == what);
        let is_secret = |name: &str| seen.contains(&Err((name.to_owned(), SECRET)));
        assert!(is_secret("t/b/key") && is_secret("t/b/c/copy"), "{links:?}: {:?}", names(&seen));
        assert_eq!(is_secret("t/linked"), links == Symlinks::Follow, "{links:?}");
        assert_eq!(is_secret("t/folder/key"), links == Symlinks::Follow, "{links:?}");
        assert!(sent(&seen, "t/a") && sent(&seen, "t/b/c/x") && sent(&seen, "t"), "{links:?}");
        // No content of it is read, also where files are opened as they are found.
        let mut source = source();
        while let Some(entry) = source.next_entry() {
            let Ok((found, meta)) = entry else { continue };
            let mut reader = source.open(&found, &meta).unwrap();
            let mut bytes = [0; 100];
            let count = source.read_at(&mut reader, 0, &mut bytes).unwrap_or(0);
            assert!(!bytes[..count].starts_with(b"secret"), "{links:?}: {}", meta.path);
        }
        // The same is walked again after a lost connection.
        assert_eq!(
            names(&walk(&mut except(FsSource::new([&key]).unwrap(), &key))),
            ["key: Secret"]
        );
    }
}

#[test]
fn source_excepted_files_that_are_given_by_other_names_are_reported_so() {
    let dir = tree();
    let (key, other) = (dir.path().join("t/b/y"), dir.path().join("t/z"));
    symlink(&key, dir.path().join("link")).unwrap();
    let name = RelPath::parse(b"harmless").unwrap();
    for path in [&key, &dir.path().join("link"), &dir.path().join("t/b/../b/y")] {
        let source = FsSource::named(path, &name).unwrap();
        let mut source = except(except(source, &key), &other);
        for _ in 0..2 {
            assert_eq!(names(&walk(&mut source)), ["harmless: Secret"], "{}", path.display());
            source.rewind().unwrap();
        }
    }
    let mut source = except(except(FsSource::new([dir.path().join("t")]).unwrap(), &key), &other);
    let expected =
        ["t/a", "t/b/c/x", "t/b/c", "t/b/y: Secret", "t/b", "t/empty", "t/z: Secret", "t"];
    assert_eq!(names(&walk(&mut source)), expected);
}
