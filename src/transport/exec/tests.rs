use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn shell(command: &str) -> ExecStream {
    ExecConnector::shell(command).connect().unwrap()
}

fn exec_error(error: &io::Error) -> &ExecError {
    error.get_ref().and_then(|error| error.downcast_ref()).unwrap()
}

fn read_to_error(stream: &mut ExecStream) -> (Vec<u8>, io::Error) {
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).unwrap_err();
    (got, error)
}

/// Returns whether the process exists, on systems that show processes as folders.
fn exists(id: u32) -> bool {
    Path::new("/proc/self").exists() && Path::new(&format!("/proc/{id}")).exists()
}

#[test]
fn exec_carries_bytes_through_a_command_both_ways() {
    let sent: Vec<u8> = (0..400_000_u32).map(|i| ((i * 31) >> 3).to_le_bytes()[0]).collect();
    for mut stream in
        [shell("cat | cat"), ExecConnector::program("cat", [""; 0]).connect().unwrap()]
    {
        stream.set_timeout(Some(LONG));
        let mut got = Vec::new();
        let (mut written, mut buffer) = (0, vec![0; 1 << 16]);
        // One thread, in turns that the pipes and queues can hold: as a session does.
        while got.len() < sent.len() {
            let end = sent.len().min(written + (1 << 16));
            stream.write_all(&sent[written..end]).unwrap();
            stream.flush().unwrap();
            written = end;
            while got.len() < written {
                let count = stream.read(&mut buffer).unwrap();
                assert_ne!(count, 0);
                got.extend_from_slice(&buffer[..count]);
            }
        }
        assert!(got == sent);
    }
}

#[test]
fn exec_program_takes_arguments_as_they_are() {
    let mut stream = ExecConnector::program("printf", ["%s", "$HOME; 'x' *"]).connect().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "$HOME; 'x' *");
}

#[test]
fn exec_silent_command_ticks() {
    let mut stream = shell("cat");
    stream.set_timeout(Some(Duration::from_millis(30)));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn exec_command_that_succeeds_ends_the_stream() {
    let mut stream = shell("echo noise >&2; printf all");
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn exec_command_that_fails_says_status_and_last_words_after_its_bytes() {
    let mut stream = shell("printf part; echo 'ssh: connect refused' >&2; exit 255");
    let (got, error) = read_to_error(&mut stream);
    assert_eq!(got, b"part");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(
        error.to_string().ends_with("\' exited with status 255: ssh: connect refused"),
        "{error}"
    );
    assert_eq!(exec_error(&error).status.code(), Some(255));
    assert_eq!(exec_error(&error).stderr, b"ssh: connect refused\n");
    // And again.
    assert_eq!(read_to_error(&mut stream).1.to_string(), error.to_string());
}

#[test]
fn exec_command_that_fails_before_it_takes_anything_is_told_by_write_or_flush() {
    let mut stream = shell("exec <&-; echo closed >&2; exit 3");
    let error = loop {
        if let Err(error) = stream.write_all(&[0; 1000]).and_then(|()| stream.flush()) {
            break error;
        }
    };
    assert!(error.to_string().ends_with("\' exited with status 3: closed"), "{error}");
}

#[test]
fn exec_command_killed_names_the_signal() {
    let mut stream = shell("kill -9 $$");
    let (_, error) = read_to_error(&mut stream);
    assert_eq!(exec_error(&error).status.signal(), Some(9));
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[test]
fn exec_unknown_command_is_invalid_and_unknown_program_not_found() {
    let (_, error) = read_to_error(&mut shell("no-such-command-of-haul"));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("' exited with status 127: "), "{error}");
    let error = ExecConnector::program("no-such-command-of-haul", [""; 0]).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no-such-command-of-haul"), "{error}");
}

#[test]
fn exec_last_words_are_bounded_and_escaped() {
    let noise = "i=0; while [ $i -lt 3000 ]; do echo line$i; i=$((i+1)); done >&2";
    let (_, error) = read_to_error(&mut shell(&format!("{noise}; exit 1")));
    let said = &exec_error(&error).stderr;
    assert_eq!(said.len(), TAIL);
    assert!(said.ends_with(b"line2998\nline2999\n"));

    let (_, error) =
        read_to_error(&mut shell(r"printf '\033[2J\r\n\302\233x\n\342\200\256y' >&2; exit 1"));
    let text = error.to_string();
    assert!(text.ends_with(r"exited with status 1: \u{1b}[2J; \u{9b}x; \u{202e}y"), "{text}");
}

#[test]
fn exec_status_is_told_though_another_process_holds_the_pipes() {
    let start = Instant::now();
    // The far process keeps standard error, and only that, open for longer than the test may take.
    let (_, error) =
        read_to_error(&mut shell("sleep 30 </dev/null >/dev/null & echo why >&2; exit 4"));
    assert!(error.to_string().ends_with("\' exited with status 4: why"), "{error}");
    assert!(start.elapsed() < LONG);
}

#[test]
fn drop_ends_the_thread_of_standard_error_though_another_process_holds_it() {
    let mut stream = shell("sleep 30 </dev/null >/dev/null & echo why >&2; printf all");
    let tail = Arc::clone(&stream.process.stderr);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "all");
    drop(stream);
    let said = tail.wait(Some(LONG), |tail| tail.ended.then(|| tail.bytes.clone()));
    assert_eq!(said.unwrap(), b"why\n");
}

#[test]
fn mark_is_found_however_it_is_cut_and_nothing_else_is_lost() {
    let mark: Mark = *b"aab aab aab aac!";
    let said = [&b"xaaab aab aab aab aab "[..], &mark, b"after"].concat();
    for cut in 1..=said.len() {
        let tail = Monitor::new(Tail::default());
        let pieces: Vec<_> = said.chunks(cut).map(<[u8]>::to_vec).collect();
        keep_tail(Pieces(pieces.into()), &tail, Some(mark));
        let kept: Vec<_> = tail.update(|tail| tail.bytes.drain(..).collect());
        assert_eq!(kept, b"xaaab aab aab aab aab ", "{cut}");
    }
    let tail = Monitor::new(Tail::default());
    keep_tail(&b"all of it, aab aab"[..], &tail, Some(mark));
    assert_eq!(tail.update(|tail| tail.bytes.clone()), b"all of it, aab aab");
}

/// Pieces in which a reader gives its bytes.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.pop_front().unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[test]
fn drop_lets_the_command_finish_and_reaps_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("got");
    let command = format!("cat > '{}'; echo done >> '{0}'", path.display());
    let mut stream = shell(&command);
    let id = stream.id();
    stream.write_all(b"last bytes ").unwrap();
    drop(stream);
    assert_eq!(std::fs::read(&path).unwrap(), b"last bytes done\n");
    assert!(!exists(id));
}

#[test]
fn drop_kills_a_command_that_does_not_end_and_reaps_it() {
    let mut connector = ExecConnector::shell("exec sleep 1000").grace(Duration::from_millis(100));
    let stream = connector.connect().unwrap();
    let id = stream.id();
    let start = Instant::now();
    drop(stream);
    assert!(start.elapsed() < LONG);
    assert!(!exists(id));
}

#[test]
fn drop_of_a_command_that_never_reads_ends_in_time() {
    let mut connector = ExecConnector::shell("exec sleep 1000").grace(Duration::from_millis(10));
    let mut stream = connector.connect().unwrap();
    stream.set_timeout(Some(Duration::from_millis(10)));
    while stream.write(&[0; 1 << 16]).is_ok() {}
    let (id, start) = (stream.id(), Instant::now());
    drop(stream);
    assert!(start.elapsed() < LONG);
    assert!(!exists(id));
}

#[test]
fn connector_runs_the_command_as_often_as_asked() {
    let mut connector = ExecConnector::shell("printf $$").stderr(Stderr::Keep);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut stream = connector.connect().unwrap();
        let mut id = String::new();
        stream.read_to_string(&mut id).unwrap();
        assert_eq!(id, stream.id().to_string());
        ids.push(id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 3);
}
