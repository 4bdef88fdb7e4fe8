//! Errors as one line for people: what went wrong, where, and what can be done about it.

use std::fmt::Write;
use std::io;
use std::path::Path;

use haul::proto::{Incompatible, PREFACE, Stall};
use haul::transport::exec::ExecError;
use haul::transport::secure::SecureError;
use haul::types::{
    AbortCode, Escaped, PublicKey, Refusal, Withdrawal, is_fd_exhaustion, is_unsafe,
};
use haul::{Error, Operation, RelPath, SessionError};

use crate::exit::Side;

/// Facts about a transfer that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) side: Side,
    /// The peer has shown that it is haul.
    pub(crate) greeted: bool,
    /// The key of this user, where keys are used.
    pub(crate) own: Option<PublicKey>,
    /// The key that the peer has proved to have.
    pub(crate) peer: Option<PublicKey>,
    /// This user trusts that key, or it is its own.
    pub(crate) is_known: bool,
}

impl Context {
    /// Creates the context of a side that knows nothing of its peer.
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, greeted: false, own: None, peer: None, is_known: false }
    }
}

/// Returns the error, without a line break.
pub(crate) fn error(error: &Error, context: Context) -> String {
    match error {
        Error::Transport { operation: Operation::Connect, source } => connect(source, context.side),
        Error::Transport { operation, source } => lost(*operation, source, context),
        Error::Local { operation, source } => format!("{operation}: {}", system(source)),
        Error::Session(error) => session(error, context),
        other => other.to_string(),
    }
}

fn session(error: &SessionError, context: Context) -> String {
    match error {
        SessionError::Incompatible(incompatible) => no_common_ground(incompatible, context),
        SessionError::Stalled(stall) => stalled(stall, context),
        SessionError::Aborted(code) => aborted(*code, context),
        SessionError::Ended(AbortCode::Superseded) => {
            "the sender came again, and this connection of it was given up".into()
        }
        SessionError::Ended(AbortCode::Exhausted) => {
            "too few file descriptors; raise the limit (ulimit -n), and run the same command again"
                .into()
        }
        SessionError::Ended(AbortCode::NotAdmitted) => match context.peer {
            Some(_) if context.is_known => {
                let other = context.side.other();
                format!(
                    "not admitted: another {other} has a part of this transfer, and the rest is for it alone"
                )
            }
            Some(key) => format!(
                "not admitted: this user does not trust the key of the {}; \
                 if its owner says that it is theirs: haul trust {key}",
                context.side.other()
            ),
            None => format!("not admitted: the {} has no key", context.side.other()),
        },
        SessionError::Cancelled => "interrupted; run the same command again to go on".into(),
        SessionError::Damaged(_) => format!("{error}; run the same command again to go on"),
        other => other.to_string(),
    }
}

/// Returns the error of the system, without its number, and what can be done about it here.
pub(crate) fn system(error: &io::Error) -> String {
    let text = said(error);
    if lacks_descriptors(error) { format!("{text}; raise the limit (ulimit -n)") } else { text }
}

/// Returns whether this process, or the system, has no file descriptor left.
fn lacks_descriptors(error: &io::Error) -> bool {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |error| error.source());
    let codes = causes.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error());
    codes.filter_map(|code| u32::try_from(code).ok()).any(is_fd_exhaustion)
}

/// Returns the error of the system, without its number.
fn said(error: &io::Error) -> String {
    let mut text = error.to_string();
    while let Some(start) = text.find(" (os error ") {
        let Some(len) = text.get(start..).and_then(|rest| rest.find(')')) else { break };
        text.replace_range(start..=start + len, "");
    }
    text
}

/// Returns why the receiver does not hold an entry, and what can be done about it.
pub(crate) fn refusal(reason: Refusal, side: Side) -> String {
    let hint = match (reason, side) {
        (Refusal::Exists, Side::Sender) => {
            "; the receiver decides by --existing skip, rename or replace"
        }
        (Refusal::Exists, Side::Receiver) => "; see --existing",
        (Refusal::HiddenName, Side::Sender) => "; the receiver allows those with --allow-hidden",
        (Refusal::HiddenName, Side::Receiver) => "; see --allow-hidden",
        (Refusal::Gone, Side::Sender) => "; start the receiver again",
        (Refusal::Gone, Side::Receiver) => "; make it, and start again",
        (Refusal::NoSpace { .. }, _) => "; make room and run the same command again to go on",
        _ => "",
    };
    match reason {
        // The system said so in the middle of a write, when the numbers are not known.
        Refusal::NoSpace { needed: 0, available: 0 } => format!("no space is left{hint}"),
        Refusal::Store { code, operation } => {
            format!("the receiver {}{}", operation.failed(), cause(code, side == Side::Receiver))
        }
        Refusal::Sync { code } => {
            format!("the receiver could not sync the file{}", cause(code, side == Side::Receiver))
        }
        _ => format!("{reason}{hint}"),
    }
}

/// Returns why an entry was not sent.
pub(crate) fn withdrawal(reason: Withdrawal, side: Side) -> String {
    match reason {
        Withdrawal::Kind => {
            "it is neither a file nor a folder (FIFOs, sockets and devices are not sent)".into()
        }
        Withdrawal::Changed => format!("{reason}; run the same command again"),
        Withdrawal::Link if side == Side::Sender => {
            format!("{reason}; to send them: --links follow, or --links preserve")
        }
        Withdrawal::NameTooLong => format!(
            "{reason} (at most {} bytes, {} folders deep, {} bytes in each part)",
            RelPath::MAX_BYTES,
            RelPath::MAX_PARTS,
            RelPath::MAX_PART_BYTES
        ),
        Withdrawal::Spent => format!("{reason}; run the same command again, with all of its input"),
        Withdrawal::FalseSize => format!("{reason}; send what it holds as a stream: haul send - <"),
        Withdrawal::Unreadable { code } => {
            format!("reading failed{}", cause(code, side == Side::Sender))
        }
        _ => reason.to_string(),
    }
}

/// Returns the error of the system by its number, and what can be done about it.
fn cause(code: u32, is_ours: bool) -> String {
    let text = i32::try_from(code).map(io::Error::from_raw_os_error).map(|error| said(&error));
    match (code, text) {
        (0, _) => String::new(),
        (_, Ok(text)) if is_fd_exhaustion(code) => {
            format!(": {text}; raise the limit there (ulimit -n), and run the same command again")
        }
        // Beyond these, the numbers of another system may have other meanings.
        (1..=SHARED, Ok(text)) => format!(": {text}"),
        (_, Ok(text)) if is_ours => format!(": {text}"),
        _ => format!(" (system error {code})"),
    }
}

/// `ERANGE`: up to here, the numbers are the same on all Unix systems, save that of `EAGAIN`, which is no reason.
const SHARED: u32 = 34;

/// Returns a name of this machine, as it is shown to people and programs.
pub(crate) fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_encoded_bytes()).to_string()
}

/// Returns a name for people: escaped, and of one that is long the two ends and how long it is.
pub(crate) fn short(path: &RelPath) -> String {
    let name = path.as_bytes();
    let inside = name.get(END..name.len().saturating_sub(END)).unwrap_or_default();
    if inside.len() <= END {
        return path.to_string();
    }
    // Not within a character.
    let is_inner = |byte: &&u8| **byte & 0xc0 == 0x80;
    let first = inside.iter().take(3).take_while(is_inner).count();
    let last = name.get(name.len() - END..).unwrap_or_default();
    let last = last.get(last.iter().take(3).take_while(is_inner).count()..).unwrap_or_default();
    let first = name.get(..END + first).unwrap_or_default();
    format!("{}...{} ({} bytes)", Escaped(first), Escaped(last), name.len())
}

/// Number of bytes of each end of a name that are shown, and at least as many are left out.
const END: usize = 64;

/// Returns the text with everything escaped that could do harm on a terminal. Names in it are [escaped](Escaped)
/// already, and stay as they are.
pub(crate) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// Returns the text with nothing of a ticket but its beginning: what is wrong with an argument is shown with it, and
/// that may be a ticket in the wrong place, or one with a slip, such as another case or no `haul://`.
pub(crate) fn without_tickets(text: &str) -> String {
    let is_end = |c: char| c.is_whitespace() || "'\"".contains(c);
    let mut shown = String::with_capacity(text.len());
    for part in text.split_inclusive(is_end) {
        let word = part.trim_end_matches(is_end);
        match secret_of_ticket(word) {
            Some(start) if word != FORM => {
                shown.push_str(&word[..start]);
                shown.push('…');
            }
            _ => shown.push_str(word),
        }
        shown.push_str(&part[word.len()..]);
    }
    shown
}

/// Returns where the part of a word begins that is not to be shown: behind `haul://`, or a key and a slash.
fn secret_of_ticket(word: &str) -> Option<usize> {
    if let Some(scheme) = word.to_ascii_lowercase().find(TICKET) {
        return Some(scheme + TICKET.len());
    }
    let mut start = 0;
    for part in word.split('/') {
        let end = start + part.len() + 1;
        if end < word.len() && part.parse::<PublicKey>().is_ok() {
            return Some(end);
        }
        start = end;
    }
    None
}

/// Works as [`clean`] for a line of JSON, which still means the same: such characters stand in strings
/// alone.
pub(crate) fn clean_json(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    for c in line.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(c);
        }
    }
    clean
}

fn connect(source: &io::Error, side: Side) -> String {
    use io::ErrorKind as Kind;
    let hint = match source.kind() {
        Kind::ConnectionRefused => match side {
            Side::Sender => "; is `haul receive` running there, on this address?",
            Side::Receiver => "; is `haul send --listen` running there, on this address?",
        },
        Kind::NotFound => "; check the address",
        Kind::TimedOut => {
            "; nobody answers there: check the address, and whether a firewall is between"
        }
        Kind::HostUnreachable | Kind::NetworkUnreachable => "; check the address and the network",
        Kind::PermissionDenied => "; this user may not connect there",
        _ => "",
    };
    format!("cannot connect: {}{hint}", system(source))
}

/// Returns why nobody is there who is expected, or who uses the same security as this side.
fn insecure(source: &io::Error, context: Context) -> Option<String> {
    let peer = context.side.other();
    match *source.get_ref()?.downcast_ref::<SecureError>()? {
        SecureError::Unexpected { key } => Some(format!(
            "the {peer} there is not whom this user expects: its key is {key}; \
             if its owner says that it is theirs: haul trust {key}"
        )),
        SecureError::NotTls { byte } if byte == PREFACE[0] => {
            Some(format!("the {peer} speaks in clear, with --insecure, and this side does not"))
        }
        SecureError::NotTls { .. } | SecureError::Incompatible => {
            Some(format!("{source}; is it haul? (for other programs: --plain)"))
        }
        SecureError::Cut if !context.greeted && context.peer.is_none() => Some(unproved(context)),
        _ => None,
    }
}

/// Returns what may be wrong with a peer that closed the connection before it proved its key.
fn unproved(context: Context) -> String {
    let text = format!(
        "the {} closed the connection before it proved its key; is it haul, and not with --insecure?",
        context.side.other()
    );
    match context.own {
        // A sender that does not expect this key goes away without a word.
        Some(key) if context.side == Side::Receiver => format!(
            "{text} If it does not know this user: give it the line that is printed here, or let it run haul trust {key}"
        ),
        _ => text,
    }
}

fn lost(operation: Operation, source: &io::Error, context: Context) -> String {
    if let Some(text) = insecure(source, context) {
        return text;
    }
    let command = source.get_ref().and_then(|inner| inner.downcast_ref::<ExecError>());
    let by_command = command.is_some();
    let failed = command.is_some_and(|command| !command.status.success());
    let what = if by_command {
        format!("the {source}")
    } else if is_close(source) {
        "the peer closed the connection".into()
    } else {
        format!("{operation}: {}", system(source))
    };
    match (context.greeted, context.side) {
        (true, Side::Sender) => {
            format!("{what} before the transfer was complete; run the same command again to go on")
        }
        (true, Side::Receiver) => {
            format!(
                "{what} before the transfer was complete; what has come is kept for when it comes again"
            )
        }
        (false, _) if failed => what,
        (false, Side::Sender) => {
            format!(
                "{what} before the handshake; is it `haul receive`? (for other programs: --plain)"
            )
        }
        (false, Side::Receiver)
            if context.own.is_some() && context.peer.is_none() && is_close(source) =>
        {
            unproved(context)
        }
        (false, Side::Receiver) => format!("{what} before the handshake"),
    }
}

fn is_close(source: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        source.kind(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe
    )
}

fn no_common_ground(incompatible: &Incompatible, context: Context) -> String {
    match incompatible {
        Incompatible::NotHaul { first: [0x16, ..] } => {
            format!(
                "the {} wants an encrypted connection, and this side sends in clear (--insecure, or --plain)",
                context.side.other()
            )
        }
        Incompatible::NotHaul { first: [0x15, ..] } => {
            format!(
                "the {} takes encrypted connections alone: leave --insecure out",
                context.side.other()
            )
        }
        Incompatible::NotHaul { first } => {
            let end = first.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let shown = first.get(..end).unwrap_or_default().escape_ascii();
            let other = match context.side {
                Side::Sender => "if it is a plain receiver such as nc, use --plain",
                Side::Receiver => "to receive from plain senders such as nc, use --plain FILE",
            };
            format!("the peer does not speak haul: its first bytes are \"{shown}\"; {other}")
        }
        Incompatible::SameRole { sender: true } => {
            "both sides send; one of them must be `haul receive`".into()
        }
        Incompatible::SameRole { sender: false } => {
            "both sides receive; one of them must be `haul send`".into()
        }
        Incompatible::Version { .. } | Incompatible::Features { .. } => {
            format!("{incompatible}; bring the older side up to date")
        }
        other => other.to_string(),
    }
}

fn stalled(stall: &Stall, context: Context) -> String {
    match (stall, context.side) {
        (Stall::Hello { .. }, Side::Sender) => {
            format!("{stall}; is it `haul receive`? (for other programs: --plain)")
        }
        (Stall::Hello { .. }, Side::Receiver) => {
            format!("{stall}; is it `haul send`? (for other programs: --plain FILE)")
        }
        (_, Side::Sender) => format!("{stall}; run the same command again to go on"),
        (_, Side::Receiver) => stall.to_string(),
    }
}

fn aborted(code: AbortCode, context: Context) -> String {
    let peer = context.side.other();
    match code {
        AbortCode::Cancelled => {
            format!("the {peer} was stopped by its user; what has arrived is kept")
        }
        AbortCode::Leaving => {
            format!("the {peer} went away, and may be started again; what has arrived is kept")
        }
        AbortCode::Busy => format!("the {peer} is busy; try again later, or with --retry-for"),
        AbortCode::Exhausted => {
            format!(
                "the {peer} has too few file descriptors; raise the limit there (ulimit -n), or try again later, or with --retry-for"
            )
        }
        AbortCode::Incompatible => {
            format!(
                "the {peer} supports no common version of the protocol; bring the older side up to date"
            )
        }
        AbortCode::NotAdmitted => match context.own {
            Some(key) => format!(
                "the {peer} does not admit this user: use the line that it prints (each is for one), \
                 or ask its user to run: haul trust {key}"
            ),
            None => format!("the {peer} does not admit whom it does not know"),
        },
        _ => format!("the {peer} {code}"),
    }
}

/// Beginning of a ticket.
const TICKET: &str = "haul://";

/// Form of a ticket, as errors show it.
const FORM: &str = "haul://HOST:PORT/KEY/SECRET";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haul::StoreOperation;

    use super::*;

    const CONTEXTS: [Context; 4] = [
        Context::new(Side::Sender),
        Context { greeted: true, ..Context::new(Side::Sender) },
        Context::new(Side::Receiver),
        Context { greeted: true, ..Context::new(Side::Receiver) },
    ];

    #[test]
    fn error_is_one_line_that_says_what_to_do() {
        let refused = || io::Error::from_raw_os_error(111);
        let transport = |operation| Error::Transport { operation, source: refused() };
        for context in CONTEXTS {
            for (of, hint) in [
                (transport(Operation::Connect), "running there"),
                (Error::Session(Incompatible::NotHaul { first: *b"HTTP/1.\n" }.into()), "--plain"),
                (Error::Session(Stall::Hello { after: Duration::from_secs(10) }.into()), "10 s"),
                (
                    Error::Session(
                        Incompatible::Version { min: 2, max: 3, our_min: 1, our_max: 1 }.into(),
                    ),
                    "up to date",
                ),
                (Error::Session(Incompatible::SameRole { sender: true }.into()), "haul receive"),
                (Error::Session(SessionError::Aborted(AbortCode::Busy)), "--retry-for"),
                (Error::Session(SessionError::Aborted(AbortCode::Exhausted)), "ulimit -n"),
                (Error::Session(SessionError::Ended(AbortCode::Exhausted)), "ulimit -n"),
                (Error::Session(SessionError::Cancelled), "again"),
            ] {
                let line = error(&of, context);
                assert!(line.contains(hint), "{line}");
                assert!(!line.contains(char::is_control) && !line.contains("os error"), "{line}");
            }
        }
    }

    #[test]
    fn error_for_want_of_descriptors_says_which_limit_to_raise() {
        let source = || io::Error::from_raw_os_error(24);
        for operation in [Operation::Connect, Operation::Read] {
            let line = error(&Error::Local { operation, source: source() }, CONTEXTS[0]);
            assert!(line.ends_with("open files; raise the limit (ulimit -n)"), "{line}");
        }
        assert_eq!(system(&io::Error::from_raw_os_error(5)), "Input/output error");
    }

    #[test]
    fn reason_with_a_number_of_the_system_says_what_it_means() {
        let store = |code| Refusal::Store { code, operation: StoreOperation::Rename };
        for side in [Side::Sender, Side::Receiver] {
            let line = refusal(store(24), side);
            assert!(line.contains("open files") && line.contains("ulimit -n"), "{line}");
            let line = refusal(Refusal::Sync { code: 5 }, side);
            assert_eq!(line, "the receiver could not sync the file: Input/output error");
            assert_eq!(refusal(store(0), side), "the receiver could not rename it");
            let line = withdrawal(Withdrawal::Unreadable { code: 23 }, side);
            assert!(line.contains("open files") && line.contains("ulimit -n"), "{line}");
            assert_eq!(withdrawal(Withdrawal::Unreadable { code: 0 }, side), "reading failed");
        }
        // Another system may mean something else by it.
        let theirs = refusal(store(116), Side::Sender);
        assert_eq!(theirs, "the receiver could not rename it (system error 116)");
        assert!(!refusal(store(116), Side::Receiver).contains("116"));
    }

    #[test]
    fn reason_of_a_spent_stream_or_a_deep_name_says_what_to_do() {
        let line = withdrawal(Withdrawal::Spent, Side::Sender);
        assert!(
            line.contains("cannot be read again") && line.contains("all of its input"),
            "{line}"
        );
        let line = withdrawal(Withdrawal::NameTooLong, Side::Sender);
        assert!(line.contains("128 folders deep"), "{line}");
        assert!(refusal(Refusal::Gone, Side::Receiver).contains("is gone; make it"));
    }

    #[test]
    fn receiver_that_is_known_and_not_admitted_is_not_called_a_stranger() {
        let (key, refused) = (
            PublicKey::from_bytes([7; 32]),
            Error::Session(SessionError::Ended(AbortCode::NotAdmitted)),
        );
        let context = Context { peer: Some(key), ..Context::new(Side::Sender) };
        let line = error(&refused, context);
        assert!(line.contains(&format!("haul trust {key}")), "{line}");
        let line = error(&refused, Context { is_known: true, ..context });
        assert!(line.contains("another receiver has a part"), "{line}");
        assert!(!line.contains("haul trust"), "{line}");
    }

    #[test]
    fn system_leaves_the_number_out() {
        let inner = io::Error::from_raw_os_error(2);
        let text = system(&io::Error::new(inner.kind(), format!("/a/b: {inner}; more")));
        assert_eq!(text, "/a/b: No such file or directory; more");
        assert_eq!(system(&io::Error::other("odd (os error ")), "odd (os error ");
    }

    #[test]
    fn ticket_in_an_error_is_shown_without_its_secret() {
        let line = "invalid value 'haul://h:1/key/secret' for haul://x:1/k/s: haul://secret";
        let shown = "invalid value 'haul://…' for haul://… haul://…";
        assert_eq!(without_tickets(line), shown);
        assert_eq!(without_tickets("a haul b"), "a haul b");
        let key = PublicKey::from_bytes([7; 32]).to_string();
        let (upper, form) = (key.to_uppercase(), haul::transport::secure::TicketError::Form);
        for (line, shown) in [
            (format!("'HAUL://h:1/{upper}/S' is"), "'HAUL://…' is".to_owned()),
            (format!("h:1/{key}/secret: no"), format!("h:1/{key}/… no")),
            (format!("'//h:1/{upper}/secret'"), format!("'//h:1/{upper}/…'")),
            (format!("haul trust {key}\n"), format!("haul trust {key}\n")),
            (format!("h:1/{key}/ é/é"), format!("h:1/{key}/ é/é")),
            (format!("bad: {form}"), format!("bad: {form}")),
        ] {
            assert_eq!(without_tickets(&line), shown);
        }
    }

    #[test]
    fn clean_leaves_nothing_that_a_terminal_obeys() {
        assert_eq!(
            clean("a\u{1b}[31mb\r\n\u{9b}\u{202e}é\\"),
            "a\\u{1b}[31mb\\r\\n\\u{9b}\\u{202e}é\\"
        );
    }

    #[test]
    fn clean_json_says_the_same_and_holds_nothing_unsafe() {
        for text in
            ["a\u{1b}[31m", "\u{9b}2J\u{7f}", "x\ny", "\u{202e}gpj.exe\u{2069}", "\u{e0041}é日"]
        {
            let line = clean_json(&serde_json::to_string(text).unwrap());
            assert!(!line.contains(is_unsafe), "{line}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
            assert!(!clean(text).contains(is_unsafe));
        }
    }
}
