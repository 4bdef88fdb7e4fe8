//! The loops that run the cores, one step at a time: each function polls once, and does what the poll says.
//!
//! Neither knows where bytes come from or go to, nor what time it is. The numbers are those of the crate's documentation, under
//! "Drive the core yourself".

use std::error::Error;
use std::time::Duration;

use haul::drive::Files;
use haul::proto::{ReceiveAction, Receiver, SendAction, Sender};
use haul::store::{Readers, Source, Store};
use haul::{Event, Summary};

/// Longest wait of a step of the receiver in the store: a heartbeat is sent in time.
const TICK: Duration = Duration::from_secs(1);

/// The sending half: the core, and what it reads from.
pub(crate) struct Alice<S: Source> {
    pub(crate) sender: Sender,
    pub(crate) source: S,
    pub(crate) readers: Readers<S>,
}

/// The receiving half: the core, what it stores into, and what is open there.
pub(crate) struct Bob<'s, S: Store> {
    pub(crate) receiver: Receiver,
    pub(crate) store: &'s mut S,
    pub(crate) files: Files<S::File>,
}

/// Next task. Before it, the bytes that the step appended are written, also where it fails.
pub(crate) enum Progress {
    /// Another step: so many bytes of the input are consumed.
    Again(usize),
    /// Another step, once more input has come, or after a second without any.
    Hungry,
    /// All is settled, and nothing follows.
    Closed(Summary),
}

impl<S: Source> Alice<S> {
    /// Does one thing. `input` is all that has come and is not consumed; what is to be written is appended to `out`.
    pub(crate) fn step(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(&Event),
    ) -> Result<Progress, Box<dyn Error + Send + Sync>> {
        let Self { sender, source, readers } = self;
        // 1. Poll with the time. What it appended to `out` is written first, whatever else it says.
        match sender.poll(now, out)? {
            // 2. Tell the application. The receiver's word that it holds an entry: nothing else means success.
            SendAction::Event(event) => tell(&event),
            // 2. Name the entries one after the other; content is not read yet. 3. Say which it is, or that there are
            // no more.
            SendAction::NextEntry => match source.next_entry() {
                None => sender.handle_exhausted()?,
                Some(Err(unsendable)) => sender.handle_unsendable(unsendable.reason)?,
                Some(Ok((key, meta))) => {
                    let entry = sender.handle_entry(meta.clone(), source.window(&key))?;
                    readers.insert(source, entry, key, meta);
                }
            },
            // 2. Read content straight into its frame, behind `head` free bytes. 3. Say so; the sender answers how many
            // bytes of the frame to write (none, if the receiver proves to hold this block already).
            SendAction::Read(request) => {
                let frame = out.len();
                out.resize(frame + request.head + request.len, 0);
                let read = readers.read(source, &request, &mut out[frame + request.head..]);
                let sent = match read {
                    Ok(Some(read)) => sender.handle_read(now, read, &mut out[frame..])?,
                    Ok(None) => sender.handle_read_pending().map(|()| 0)?,
                    Err(reason) => sender.handle_withdrawn(reason).map(|()| 0)?,
                };
                out.truncate(frame + sent);
            }
            // 2. The receiver holds these bytes, or the entry is settled: a source that buffers can let go.
            SendAction::Release { entry, offset } => readers.release(source, entry, offset),
            SendAction::Forget { entry } => readers.forget(entry),
            // 4. Give everything that is not consumed; the sender takes one message. Then poll again; where it took none,
            // once more has come, or at `until`.
            SendAction::Await { .. } => {
                let bytes = sender.handle_input(now, input)?.bytes;
                return Ok(if bytes == 0 { Progress::Hungry } else { Progress::Again(bytes) });
            }
            // 5. Success: every entry is settled. Flush, and close the stream.
            SendAction::Closed(summary) => return Ok(Progress::Closed(summary)),
            _ => return Err("an action of a later version".into()),
        }
        Ok(Progress::Again(0))
    }
}

impl<S: Store> Bob<'_, S> {
    /// Does a step, as [`Alice::step`].
    pub(crate) fn step(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
        mut tell: impl FnMut(&Event),
    ) -> Result<Progress, Box<dyn Error + Send + Sync>> {
        let Self { receiver, store, files } = self;
        // 3. Whatever the store has ended by itself is said before the poll.
        files.collect(*store, receiver, Duration::ZERO)?;
        // 1. Poll, as above.
        match receiver.poll(now, out)? {
            ReceiveAction::Event(event) => {
                // The store hears which transfer it serves, before anything of it is begun.
                if let Event::Greeted { transfer, .. } = event {
                    store.serve(transfer);
                }
                tell(&event);
            }
            // 2. Commits go on in the store: wait for one, once `out` is written. 3. Say how it ended.
            ReceiveAction::AwaitCommit { until } => {
                let wait = if out.is_empty() { until.saturating_sub(now) } else { Duration::ZERO };
                files.collect(*store, receiver, wait.min(TICK))?;
            }
            // 4. As above; but a message may need something of the store before it is consumed. Then the receiver is
            // polled all the same, as it may have to close one file before it asks for the next, and is given the
            // same input again.
            ReceiveAction::Await { .. } => {
                let step = receiver.handle_input(now, input)?;
                return Ok(match files.answer(*store, receiver, step)? {
                    Some(answered) if answered.bytes == 0 => Progress::Hungry,
                    answered => Progress::Again(answered.map_or(0, |answered| answered.bytes)),
                });
            }
            // 5. Success.
            ReceiveAction::Closed(summary) => return Ok(Progress::Closed(summary)),
            // 2. Begin, read, commit, close: what the store does. 3. Say what came of it. Both are done here.
            action => files.act(*store, receiver, action)?,
        }
        Ok(Progress::Again(0))
    }
}
