//! The key that a user keeps in a folder: made once, read by nobody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
#[cfg(unix)]
use rustix::process::geteuid;
use zeroize::Zeroizing;

use super::key::SecretKey;
use crate::types::Escaped;

impl SecretKey {
    /// Reads the key that is kept in this folder, after making it where there is none: the file `key`.
    ///
    /// A folder that does not exist is made too, for its owner alone (mode 0700), as the file is (0600). Of several
    /// processes that do so at once, all get the same key. A key that others could have read is not used: errors say by
    /// which command to mend that.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::PermissionDenied`], if folder or file belong to another user, are open to others than their owner, or
    ///   closed to this process.
    /// - [`ErrorKind::InvalidData`], if the file holds no key. It stays as it is.
    /// - Any other error of the system; the text names the file.
    pub fn load_or_create(folder: &Path) -> io::Result<Self> {
        make_folder(folder).map_err(|error| named(folder, &error))?;
        let is_private = |path: &Path, mode| is_private(&fs::metadata(path)?, path, mode);
        is_private(folder, "700").map_err(|error| named(folder, &error))?;
        let path = folder.join("key");
        match load(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            loaded => return loaded.map_err(|error| named(&path, &error)),
        }
        create(folder, &path)
            // Whoever was first has made the one key that there is.
            .and_then(|()| load(&path))
            .map_err(|error| named(&path, &error))
    }
}

fn load(path: &Path) -> io::Result<SecretKey> {
    // A FIFO would be waited for.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not a file"));
    }
    let file = File::open(path)?;
    is_private(&file.metadata()?, path, "600")?;
    let mut text = Zeroizing::new([0; LONGEST]);
    let mut len = 0;
    while len < LONGEST {
        match (&file).read(&mut text[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = std::str::from_utf8(&text[..len]).map_err(|_| no_key("it is not text"))?;
    SecretKey::from_text(text).map_err(|error| no_key(&error.to_string()))
}

/// Makes the key under a name of its own, and gives it the name that is looked for once it is whole, if that is free.
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    let mut random = [0; 8];
    let no_random = |_| io::Error::other("the system gives no random numbers");
    SystemRandom::new().fill(&mut random).map_err(no_random)?;
    let new = folder.join(format!("key.{:016x}.new", u64::from_le_bytes(random)));
    let written = write(&new);
    let linked = written.and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    // What is not removed holds a key that nobody uses.
    let _ = fs::remove_file(&new);
    linked?;
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut text = SecretKey::generate()?.to_text();
    text.push('\n');
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the folder for its owner alone, and those above it as the user makes folders.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    #[cfg_attr(not(unix), expect(unused_mut, reason = "the mode is set where there is one"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Checks that it belongs to the user of this process, and that nobody but its owner may read or write it.
#[cfg(unix)]
fn is_private(meta: &fs::Metadata, path: &Path, wanted: &str) -> io::Result<()> {
    let (owner, user) = (std::os::unix::fs::MetadataExt::uid(meta), geteuid().as_raw());
    if owner != user {
        let text = format!("it belongs to another user ({owner}), and not to this one ({user})");
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = quoted(path);
    let text = format!("others may use it (mode {mode:04o}); to mend that: chmod {wanted} {path}");
    Err(io::Error::new(ErrorKind::PermissionDenied, text))
}

#[cfg(not(unix))]
fn is_private(_: &fs::Metadata, _: &Path, _: &str) -> io::Result<()> {
    Ok(())
}

/// Returns the path as a shell takes it.
#[cfg(unix)]
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn no_key(reason: &str) -> io::Error {
    let text = format!("no key is in it: {reason}; move it away, and a new key is made");
    io::Error::new(ErrorKind::InvalidData, text)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    let path = Escaped(path.as_os_str().as_encoded_bytes());
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// Upper bound of the text of a key with the end of its line.
const LONGEST: usize = 128;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn key_is_made_once_for_its_owner_alone_and_read_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("not/yet/haul");
        let key = SecretKey::load_or_create(&folder).unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("key"))), (0o700, 0o600));
        assert_eq!(SecretKey::load_or_create(&folder).unwrap().public(), key.public());
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(names, [folder.join("key")], "nothing else is left");
        let text = fs::read_to_string(folder.join("key")).unwrap();
        assert_eq!(text, format!("{}\n", *key.to_text()));
    }

    #[test]
    fn key_of_many_that_begin_at_once_is_one() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let folder = dir.path().join(round.to_string());
            let keys: Vec<_> = thread::scope(|scope| {
                let make = || SecretKey::load_or_create(&folder).unwrap().public();
                let threads = [(); 8].map(|()| scope.spawn(make));
                threads.map(|thread| thread.join().unwrap()).into()
            });
            assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        }
    }

    #[test]
    fn key_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("it's haul");
        let key = SecretKey::load_or_create(&folder).unwrap();
        for (path, loose, right) in
            [(folder.join("key"), 0o640, 0o600), (folder.clone(), 0o701, 0o700)]
        {
            set_mode(&path, loose);
            let error = SecretKey::load_or_create(&folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let shown = format!("chmod {right:o} '{}'", path.display()).replace("it's", r"it'\''s");
            assert!(error.to_string().ends_with(&shown), "{error}");
            set_mode(&path, right);
        }
        assert_eq!(SecretKey::load_or_create(&folder).unwrap().public(), key.public());
    }

    #[test]
    fn key_of_another_user_is_refused_with_who_that_is() {
        use std::os::unix::fs::chown;
        if !geteuid().is_root() {
            eprintln!("left out: nobody else can give a file away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("haul");
        SecretKey::load_or_create(&folder).unwrap();
        for path in [folder.join("key"), folder.clone()] {
            chown(&path, Some(65_534), None).unwrap();
            let error = SecretKey::load_or_create(&folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("another user (65534)"), "{error}");
            chown(&path, Some(0), None).unwrap();
        }
        // Nor is one made where the folder is somebody else's.
        fs::remove_file(folder.join("key")).unwrap();
        chown(&folder, Some(65_534), None).unwrap();
        SecretKey::load_or_create(&folder).unwrap_err();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn key_file_without_a_key_is_an_error_that_shows_nothing_of_it_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("haul");
        let text = SecretKey::load_or_create(&folder).unwrap().to_text();
        let half = text[..40].to_owned();
        let wrong = if text.starts_with('a') { "b" } else { "a" };
        for bad in [String::new(), half, format!("{wrong}{}", &text[1..]), "x".repeat(500)] {
            fs::write(folder.join("key"), &bad).unwrap();
            let error = SecretKey::load_or_create(&folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(!error.to_string().contains(&text[10..20]), "{error}");
            assert_eq!(fs::read_to_string(folder.join("key")).unwrap(), bad);
        }
        fs::remove_file(folder.join("key")).unwrap();
        fs::create_dir(folder.join("key")).unwrap();
        let error = SecretKey::load_or_create(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    }
}
