//! A file system that takes no notice of case: NTFS in a plain file, over FUSE. It also lacks the flags of a rename.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use tempfile::{TempDir, tempdir};

use crate::common::{PATIENCE, must_have_programs, poll, quiet};
use crate::haul::{HAUL, Haul, content, names, run, tree};

/// A file system of its own, unmounted when dropped.
struct Folding {
    folder: TempDir,
}

impl Folding {
    /// Mounts a file system; `None`, with the reason on standard error, where such a one cannot be had, and need not
    /// be: without FUSE, or where its programs are missing. A gate that runs where there is no FUSE says so by
    /// `HAUL_NO_FUSE`.
    fn new() -> Option<Self> {
        let fuse = fs::File::open("/dev/fuse").map_err(|error| format!("/dev/fuse: {error}"));
        let is_excused = fuse.is_err() && std::env::var_os("HAUL_NO_FUSE").is_some();
        let mounted = fuse.and_then(|_| Self::mount()).inspect_err(|why| {
            assert!(is_excused || !must_have_programs(), "{why} (HAUL_NO_FUSE=1 does without)");
        });
        mounted.inspect_err(|why| eprintln!("SKIPPED: a file system that folds case: {why}")).ok()
    }

    fn mount() -> Result<Self, String> {
        let folder = tempdir().unwrap();
        let (image, root) = (folder.path().join("image"), folder.path().join("root"));
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        fs::create_dir(&root).unwrap();
        let mut make = quiet("mkntfs");
        make.args(["-F", "-q", "-Q"]).arg(&image);
        let mut mount = quiet("lowntfs-3g");
        mount.args(["-o", "ignore_case"]).arg(&image).arg(&root);
        for mut command in [make, mount] {
            let output = command
                .output()
                .map_err(|error| format!("{command:?}: {error} (apt-get install ntfs-3g)"))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{command:?} failed: {said}"));
            }
        }
        let mounted = Self { folder };
        fs::write(mounted.root().join("Case"), "").unwrap();
        assert!(mounted.root().join("cASE").exists(), "it does not fold case");
        fs::remove_file(mounted.root().join("Case")).unwrap();
        Ok(mounted)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        // What writes to it may have been killed just now. The image would stay in use.
        let deadline = Instant::now() + PATIENCE;
        poll(deadline, "umount", || {
            quiet("umount").arg(self.root()).output().unwrap().status.success().then_some(())
        });
    }
}

/// Runs the second implementation as a sender of these names, which the command itself would not send.
fn offer(names: &[String], socket: &Path) -> String {
    let script = "import socket, sys
from peer import Sender, Sending
sender = Sender([Sending(name, b'foreign' * 50) for name in sys.argv[2:]])
with socket.socket(socket.AF_UNIX) as stream:
    stream.connect(sys.argv[1])
    sender.run(stream)
print([entry.outcome[:2] for entry in sender.entries])";
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer");
    let mut python = quiet("python3");
    python.env("PYTHONPATH", peer).env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", script]);
    let output = python.arg(socket).args(names).output().expect("python3 is there, as for others");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns every file by its name in lower case: the file system decides how a name is written.
fn folded(folder: &Path) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    tree(folder).into_iter().map(|(name, bytes)| (name.to_lowercase(), text(bytes))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn send(files: &[&Path], inbox: &Path, policy: &str) -> crate::haul::Finished {
    let address = crate::haul::exec(inbox, policy);
    let files = files.iter().map(|path| path.to_str().unwrap());
    run(["send"].into_iter().chain(files).chain([&*address]))
}

#[test]
fn folding_partial_file_is_not_reached_by_a_peer_in_any_case() {
    let Some(folding) = Folding::new() else { return };
    if crate::common::lacks_python() {
        return;
    }
    let (inbox, place) = (folding.root(), tempdir().unwrap());
    let socket = place.path().join("socket");
    let address = format!("unix:{}", socket.display());
    let more = ["receive", inbox.to_str().unwrap(), "--allow-hidden", "--existing", "replace"];
    let mut bob = Haul::start([&more[..], &["--listen", &address]].concat());
    bob.address();
    let whole = content(1, 3 << 20);
    let mut send = quiet(HAUL);
    send.args(["send", "-", "--name", "x", &address]).stdin(Stdio::piped());
    let mut alice = Haul::spawn(send);
    let mut input = alice.take_stdin();
    input.write_all(&whole[..2 << 20]).unwrap();
    let partial = poll(Instant::now() + PATIENCE, "a partial file", || {
        let begun = |name: &String| fs::metadata(inbox.join(name)).is_ok_and(|file| file.len() > 0);
        names(&inbox).into_iter().find(|name| name.starts_with(".haul-") && begun(name))
    });
    let swapped: String = partial
        .chars()
        .enumerate()
        .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c })
        .collect();
    let short = "HAUL-0~1.PAR".to_owned();
    let ours = [partial.clone(), partial.to_uppercase(), swapped, short];
    assert_eq!(offer(&ours, &socket), format!("[{}]", ["('refused', 4)"; 4].join(", ")));
    input.write_all(&whole[2 << 20..]).unwrap();
    drop(input);
    alice.finish().code(0);
    bob.interrupt();
    bob.finish();
    // A name that is removed while its file is open stays as another one, until that is closed: this is told after the
    // fact.
    poll(Instant::now() + PATIENCE, "one file", || (names(&inbox) == ["x"]).then_some(()));
    assert!(fs::read(inbox.join("x")).unwrap() == whole, "it was written to");
}

/// NTFS and FAT give a file a short name beside its own, by which it can be opened.
#[test]
fn folding_hidden_folder_is_not_reached_by_its_short_name() {
    let Some(folding) = Folding::new() else { return };
    if crate::common::lacks_python() {
        return;
    }
    let hidden = folding.root().join(".ssh");
    fs::create_dir(&hidden).unwrap();
    let script = "import os, sys; os.setxattr(sys.argv[1], 'system.ntfs_dos_name', b'SSH~1')";
    assert!(quiet("python3").args(["-c", script]).arg(&hidden).status().unwrap().success());
    assert!(folding.root().join("SSH~1").exists(), "it has no short name");
    let outbox = tempdir().unwrap();
    // The second one is no other name of anything.
    let folders = ["ssh~1", "SSH~2"].map(|name| outbox.path().join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("authorized_keys"), "foreign").unwrap();
    }
    for _ in 0..2 {
        let sent = send(&[&folders[0], &folders[1]], &folding.root(), "").code(4);
        assert!(sent.stderr.contains("ssh~1/authorized_keys is refused"), "{sent:?}");
        assert_eq!(names(&hidden), [""; 0], "{sent:?}");
        assert_eq!(fs::read(folding.root().join("SSH~2/authorized_keys")).unwrap(), b"foreign");
    }
}

#[test]
fn folding_names_that_become_one_are_refused_and_the_first_is_intact() {
    let Some(folding) = Folding::new() else { return };
    let outbox = tempdir().unwrap();
    let tree = outbox.path().join("d");
    fs::create_dir(&tree).unwrap();
    for name in ["A.txt", "a.txt", "b", "É"] {
        fs::write(tree.join(name), format!("this is {name}")).unwrap();
    }
    for policy in ["refuse", "skip", "rename", "replace"] {
        let inbox = folding.root().join(policy);
        fs::create_dir(&inbox).unwrap();
        let sent = send(&[&tree], &inbox, &format!("--existing {policy}")).code(4);
        assert!(sent.stderr.contains("d/a.txt is refused"), "{sent:?}");
        let first = [("d/", ""), ("d/a.txt", "this is A.txt"), ("d/b", "this is b")];
        let all = [&first[..], &[("d/é", "this is É")]].concat();
        assert_eq!(folded(&inbox), pairs(&all), "{policy}");
    }

    // In a later transfer it is the file of that name, whatever its case.
    let (lower, upper) = (tree.join("a.txt"), outbox.path().join("B"));
    fs::write(&upper, "another").unwrap();
    let inbox = folding.root().join("refuse/d");
    let before = folded(&inbox);
    for other in [&lower, &upper] {
        let sent = send(&[other], &inbox, "--existing refuse").code(4);
        assert!(sent.stderr.contains("a different file exists"), "{sent:?}");
        assert_eq!(folded(&inbox), before);
        send(&[other], &inbox, "--existing skip").code(0);
        assert_eq!(folded(&inbox), before);
    }
    send(&[&upper], &inbox, "--existing rename").code(0);
    assert_eq!(
        folded(&inbox),
        [&before[..2], &pairs(&[("b (1)", "another")]), &before[2..]].concat()
    );
}

#[test]
fn folding_file_that_is_replaced_under_another_case_is_one_file_and_whole() {
    let Some(folding) = Folding::new() else { return };
    let outbox = tempdir().unwrap();
    let (photo, folder) = (outbox.path().join("pHOTO.jpg"), outbox.path().join("Album"));
    fs::write(&photo, "new").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("One"), "new one").unwrap();
    let inbox = folding.root();
    fs::create_dir(inbox.join("aLBUM")).unwrap();
    fs::write(inbox.join("Photo.JPG"), "old").unwrap();
    fs::write(inbox.join("aLBUM/one"), "old one").unwrap();
    let sent = send(&[&photo, &folder], &inbox, "--existing replace").code(0);
    assert!(sent.faults().is_empty(), "{sent:?}");
    let expected = [("album/", ""), ("album/one", "new one"), ("photo.jpg", "new")];
    assert_eq!(folded(&inbox), pairs(&expected));

    // The same again is there already.
    let sent = send(&[&photo, &folder], &inbox, "--existing refuse").code(0);
    assert!(sent.stdout.contains("there already"), "{sent:?}");
    assert_eq!(folded(&inbox), pairs(&expected));

    // A file takes no place of a folder, nor a folder that of a file.
    let (file, folder) = (outbox.path().join("ALBUM"), outbox.path().join("photo.JPG"));
    fs::write(&file, "a file").unwrap();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("x"), "x").unwrap();
    for path in [&file, &folder] {
        send(&[path], &inbox, "--existing replace").code(4);
        assert_eq!(folded(&inbox), pairs(&expected));
    }
}
