//! Both cores driven by hand: no stream, no thread, no clock of their own. Two byte vectors are the wire.
//!
//! A driver for another kind of I/O (an event loop, an async runtime, a microcontroller's serial port) does what this
//! loop does; `haul::drive` is the one for blocking streams. The numbers are those of the crate's documentation.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use haul::proto::{
    EntryId, Failure, Found, Meta, ReceiveAction, Receiver, SendAction, Sender, Step, TransferId,
};
use haul::{Config, Event, RelPath};

const CONTENT: &[u8] = b"what Alice has and Bob will have";

fn main() -> Result<(), Box<dyn Error>> {
    // Ids and nonces are random bytes; the time is any clock that does not go back. Here it stands still, so no
    // deadline ever passes.
    let now = Duration::ZERO;
    let transfer = TransferId::new(*b"sixteen  random ");
    let mut sender = Sender::new(Config::default(), transfer, *b"bytes, different", now);
    let mut receiver = Receiver::new(Config::default(), *b"for each session", now);

    // The wire: bytes that are written and not yet consumed.
    let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
    let mut bob = Store::default();

    // One side at a time has something to say; each goes on for as long as it can.
    while !(sender.is_closed() && receiver.is_closed()) {
        run_sender(&mut sender, now, &to_alice, &mut to_bob)
            .map(|consumed| drop(to_alice.drain(..consumed)))?;
        run_receiver(&mut receiver, &mut bob, now, &to_bob, &mut to_alice)
            .map(|consumed| drop(to_bob.drain(..consumed)))?;
    }

    assert_eq!(bob.files, [("note.txt".to_owned(), CONTENT.to_vec())]);
    println!("delivered {} entry", sender.summary().delivered);
    Ok(())
}

/// Goes on until the sender needs more input than there is; gives how much of it was consumed.
fn run_sender(
    sender: &mut Sender,
    now: Duration,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, Box<dyn Error>> {
    let mut consumed = 0;
    let mut written = out.len();
    loop {
        // 1. Poll with the time. What it appended to `out` is written first, whatever else it says.
        match sender.poll(now, out)? {
            SendAction::Event(event) => {
                // 2. Tell the application. The receiver's word that it holds an entry: nothing else means success.
                if let Event::Delivered { receipt, .. } = event {
                    println!("{} is held, BLAKE3 {}", receipt.path, receipt.root);
                }
            }
            // 2. Name the entries one after the other; content is not read yet. 3. Say which it is, or that there are no
            // more.
            SendAction::NextEntry if sender.summary().sent == 0 => {
                let path = RelPath::parse(b"note.txt")?;
                let meta = Meta::file(path, Some(CONTENT.len().try_into()?));
                sender.handle_entry(meta, None)?;
            }
            SendAction::NextEntry => sender.handle_exhausted()?,
            // 2. Read content straight into its frame, behind `head` free bytes. 3. Say so; the sender answers how many
            // bytes of the frame to write (none, if the receiver proves to hold this block already).
            SendAction::Read(request) => {
                let start = usize::try_from(request.offset)?;
                let content = &CONTENT[start..][..request.len];
                let frame = out.len();
                out.resize(frame + request.head, 0);
                out.extend_from_slice(content);
                let send = sender.handle_read(now, content.len(), &mut out[frame..])?;
                out.truncate(frame + send);
            }
            // 2. The receiver holds these bytes, or the entry is settled: a source that buffers can let go.
            SendAction::Release { .. } | SendAction::Forget { .. } => {}
            // 4. Write what was said, and tell the core what the stream took of it: the wait for an answer begins then. Read from
            // the stream, and give everything that is not consumed; each call takes one message. A driver waits for input here,
            // until `until` at most, gives what came, and only then polls again.
            SendAction::Await { .. } => {
                sender.handle_peer_took(now, out.len() - written)?;
                written = out.len();
                let taken = sender.handle_input(now, &input[consumed..])?.bytes;
                consumed += taken;
                if taken == 0 {
                    return Ok(consumed);
                }
            }
            // 5. Success: every entry is settled. Flush, and close the stream.
            SendAction::Closed(_) => return Ok(consumed),
            _ => return Err("an action of a later version".into()),
        }
    }
}

/// The same for the receiver, with a store to ask.
fn run_receiver(
    receiver: &mut Receiver,
    store: &mut Store,
    now: Duration,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<usize, Box<dyn Error>> {
    let mut consumed = 0;
    let mut written = out.len();
    loop {
        // 1. Poll, as above.
        match receiver.poll(now, out)? {
            ReceiveAction::Event(_) => {}
            // 2. Read back what the store holds: to compare it, or to go on from a partial file. 3. Give it.
            ReceiveAction::Read { offset, len, .. } => {
                receiver.handle_held(Ok(store.held(offset, len)))?;
            }
            // 2. The entry is complete and verified: make it durable and give it its name. 3. Only then say so, because
            // the receipt follows from that. The work may be done in another thread, and said later.
            ReceiveAction::Commit(commit) => {
                let path = store.commit(commit.entry);
                receiver.handle_committed(commit.ticket, path.ok_or(haul::proto::Refusal::Name))?;
            }
            ReceiveAction::Suspend { .. } | ReceiveAction::Discard { .. } => store.open = None,
            // Commits end at once here, so there is never one to wait for.
            ReceiveAction::AwaitCommit { .. } => {}
            // 4. As above; but a message may need something of the store before it is consumed.
            ReceiveAction::Await { .. } => {
                receiver.handle_peer_took(now, out.len() - written)?;
                written = out.len();
                let taken = hear(receiver, store, now, &input[consumed..])?;
                consumed += taken;
                if taken == 0 {
                    return Ok(consumed);
                }
            }
            // 5. Success.
            ReceiveAction::Closed(_) => return Ok(consumed),
            // A store that others write to, too, says by `handle_taken` that a name was taken meanwhile; then it is asked to
            // read and to commit what has the name. Here there is nobody else.
            ReceiveAction::ReadRival { .. } | ReceiveAction::CommitRival(_) => {
                return Err("no name is ever taken here".into());
            }
            _ => return Err("an action of a later version".into()),
        }
    }
}

/// Gives one message, does what it asks of the store, says what came of that, and gives the message again.
fn hear(
    receiver: &mut Receiver,
    store: &mut Store,
    now: Duration,
    input: &[u8],
) -> Result<usize, Failure> {
    loop {
        match receiver.handle_input(now, input)? {
            Step::Consumed(consumed) => return Ok(consumed.bytes),
            // Look at what stands under the name. No space may be taken on the word of an offer alone.
            Step::Begin { offer, .. } => {
                store.open = Some((offer.entry, offer.meta.path, Vec::new()));
                receiver.handle_begun(Ok(Found::Fresh))?;
            }
            Step::Read { offset, len, .. } => receiver.handle_held(Ok(store.held(offset, len)))?,
            // These bytes were verified, and are borrowed from the input: they are copied here for the first time.
            Step::Write { offset, bytes, .. } => {
                store.write(offset, bytes);
                receiver.handle_written(Ok(()))?;
            }
            // Files are never replaced here, so nothing is taken over from one.
            _ => receiver.handle_written(Err(haul::proto::Refusal::Policy))?,
        }
    }
}

/// Files in memory, one of them open at a time.
#[derive(Default)]
struct Store {
    files: Vec<(String, Vec<u8>)>,
    open: Option<(EntryId, RelPath, Vec<u8>)>,
}

impl Store {
    fn held(&self, offset: u64, len: usize) -> &[u8] {
        let bytes = self.open.as_ref().map_or(&[][..], |(_, _, bytes)| bytes);
        let rest = usize::try_from(offset).ok().and_then(|start| bytes.get(start..));
        rest.map_or(&[], |rest| &rest[..len.min(rest.len())])
    }

    fn write(&mut self, offset: u64, content: &[u8]) {
        if let (Some((_, _, bytes)), Ok(start)) = (&mut self.open, usize::try_from(offset)) {
            bytes.resize(bytes.len().max(start + content.len()), 0);
            bytes[start..][..content.len()].copy_from_slice(content);
        }
    }

    fn commit(&mut self, entry: EntryId) -> Option<RelPath> {
        let (_, path, bytes) = self.open.take_if(|(open, _, _)| *open == entry)?;
        self.files.push((path.to_string(), bytes));
        Some(path)
    }
}
