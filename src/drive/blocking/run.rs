//! The loop that meets the needs of a session by calls that block.

use std::io::{Read, Write};

use crate::drive::clock::SharedClock;
use crate::drive::observer::Observer;
use crate::drive::session::{Machine, Need, Question};
use crate::error::Error;
use crate::types::Summary;

/// Number of notes with which a session waits: its observer learns of everything as it happens.
pub(in crate::drive) const NOTES: usize = 1;

/// Runs a session over a stream to its end. `answer` gives the session the answers to its questions.
pub(in crate::drive) fn run<M: Machine>(
    session: &mut M,
    stream: &mut (impl Read + Write),
    clock: &SharedClock,
    observer: &mut impl Observer,
    answer: impl FnMut(&mut M, Question) -> Result<(), Error>,
) -> Result<Summary, Error> {
    let ended = meet(session, stream, clock, observer, answer);
    session.finish(clock.now());
    report(session, observer);
    ended
}

fn meet<M: Machine>(
    session: &mut M,
    stream: &mut (impl Read + Write),
    clock: &SharedClock,
    observer: &mut impl Observer,
    mut answer: impl FnMut(&mut M, Question) -> Result<(), Error>,
) -> Result<Summary, Error> {
    loop {
        match session.step(clock.now())? {
            Need::Read => {
                let read = stream.read(session.connection().read_buffer());
                session.handle_read(clock.now(), read)?;
            }
            Need::Write => {
                let wrote = stream.write(session.connection().write_buffer());
                session.handle_write(clock.now(), wrote)?;
            }
            Need::Flush => {
                let flushed = stream.flush();
                session.handle_flush(clock.now(), flushed)?;
            }
            Need::Work => session.work(clock.now())?,
            Need::Commit(wait) => drop(session.collect(wait)?),
            Need::Pause(pause) => clock.sleep(pause),
            Need::Report => report(session, observer),
            Need::Answer(question) => answer(session, question)?,
            Need::Nothing(summary) => return Ok(summary),
        }
    }
}

fn report(session: &mut impl Machine, observer: &mut impl Observer) {
    while let Some(note) = session.connection().take_note() {
        note.tell(observer);
    }
}
