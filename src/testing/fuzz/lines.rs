//! The ends of a line: against any bytes, against frames that nobody would send, and against one another over a line
//! that damages what it carries.

use std::io::ErrorKind;
use std::time::Duration;

use crate::testing::choices::Choices;
use crate::testing::fault_stream::{Direction, FaultKind, StreamFault};
use crate::transport::line::play::{Play, Step, against, content, forged};

/// Runs the body of the target; see [`super::line`].
pub(super) fn line(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(3) {
        0 => alone(choices.rest()),
        1 => {
            let frames = choices.below(40);
            let bytes = forged(|| choices.byte(), frames);
            alone(&bytes);
        }
        _ => together(&mut choices),
    }
}

/// Runs each role against these bytes: it ends, or waits, and holds no more than it may.
fn alone(bytes: &[u8]) {
    let uses = [Step::Read(100), Step::Write(5000), Step::Flush, Step::Read(100_000), Step::Close];
    for first in [Step::Accept, Step::Dial(1)] {
        let steps = [&[first], &uses[..]].concat();
        let end = against(bytes, &steps);
        assert!(end.is_bounded(), "an end holds more than it may");
        assert!(end.read.len() <= bytes.len(), "more was read than came");
        let kind = end.error.as_ref().map(std::io::Error::kind);
        let known = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        assert!(kind.is_none_or(|kind| known.contains(&kind)), "{kind:?}");
    }
}

/// Turns of both ends, one of which may begin anew, with damage at some places of the line: what is read is what was
/// written, and as long as the damage is little, all of it is.
fn together(choices: &mut Choices<'_>) {
    let mut scripts = [Vec::new(), Vec::new()];
    let faults = choices.below(12);
    for _ in 0..faults {
        let kind = match choices.below(4) {
            0 => FaultKind::Delete,
            1 => FaultKind::Duplicate,
            2 => FaultKind::Insert(choices.byte()),
            _ => FaultKind::Flip(choices.byte()),
        };
        let direction = if choices.flag() { Direction::Read } else { Direction::Write };
        let fault = StreamFault::new(direction, (choices.word() % 4096).into(), kind);
        scripts[usize::from(choices.flag())].push(fault);
    }
    for script in &mut scripts {
        script.sort_by_key(|fault| fault.at);
    }
    let capacity = [1, 7, 100, 100_000][usize::from(choices.below(4))];
    let (mut near, mut far) = (vec![Step::Dial(1)], vec![Step::Accept]);
    if choices.flag() {
        let length = usize::from(choices.word() % 3000);
        near.extend([Step::Write(length), Step::Restart, Step::Dial(2)]);
        far.extend([Step::ReadUntilReset, Step::Accept]);
    }
    let mut said = [0, 0];
    for _ in 0..=choices.below(4) {
        for (side, is_near) in [(0, true), (1, false)] {
            let length = usize::from(choices.word() % 3000);
            let speaks = [Step::Write(length), Step::Flush];
            let (speaker, listener) =
                if is_near { (&mut near, &mut far) } else { (&mut far, &mut near) };
            speaker.extend(speaks);
            listener.push(Step::Read(length));
            said[side] += length;
        }
    }
    near.push(Step::Close);
    far.extend([Step::ReadEnd, Step::Close]);
    let [near_script, far_script] = &scripts;
    let mut play = Play::new(capacity, [near_script, far_script], [&near, &far]);
    let took = play.run(Duration::from_secs(600));
    let [near, far] = &play.ends;
    assert!(near.is_bounded() && far.is_bounded(), "an end holds more than it may");
    let [near_said, far_said] = said.map(|length| content(0, length));
    assert!(far_said.starts_with(&near.read), "an end read what the other did not write");
    assert!(near_said.starts_with(&far.read), "an end read what the other did not write");
    assert!(near.is_done() && far.is_done(), "no end after {took:?}");
    if play.log.hits().len() <= 3 {
        let errors = [&near.error, &far.error];
        assert!(errors.iter().all(|error| error.is_none()), "{errors:?}");
        assert!(near.read == far_said && far.read == near_said, "something did not arrive");
    }
}
