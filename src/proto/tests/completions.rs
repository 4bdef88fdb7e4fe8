//! Operations that end when nobody asks any more, and those that cannot be done at all.

use std::time::Duration;

use super::bob::{Bob, Ended};
use super::pair::path;
use super::rogue::{Rogue, inline};
use crate::config::Config;
use crate::proto::wire::message::{Message, Name};
use crate::proto::{Error, Stall};
use crate::types::{EntryId, Refusal};

/// A commit that ends after its session has failed is known to the next one, which would wait for it for ever otherwise.
#[test]
fn commit_that_ends_after_the_session_failed_is_known_to_the_next_one() {
    let entry = EntryId::new(0);
    for (ended, answer) in [
        (Ended::Committed(Ok(path("a"))), Name::Receipt),
        (Ended::Committed(Err(Refusal::Denied)), Name::Refuse),
        (Ended::Taken(Some(5)), Name::Refuse),
    ] {
        let config = Config::default();
        let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
        rogue.pair.bob.is_stuck = true;
        if let Ended::Taken(_) = ended {
            rogue.pair.bob.others.push_back(Some(b"other".to_vec()));
        }
        rogue.send_with(&Message::Offer(inline(0, b"a", b"small")), b"small");
        rogue.settle();
        rogue.wait(config.deadlines.silence);
        let failed = Error::Stalled(Stall::Silence { after: Duration::from_secs(30) });
        assert_eq!(rogue.ended(), Some(Err(failed)));
        let (ticket, _) = rogue.pair.bob.commits.pop_front().unwrap();
        let receiver = &mut rogue.pair.receiver;
        assert_eq!(receiver.committing(ticket), Some(entry));
        let told = match ended {
            Ended::Committed(committed) => receiver.handle_committed(ticket, committed),
            Ended::Taken(conflict) => receiver.handle_taken(ticket, conflict),
        };
        assert_eq!(told, Err(failed));
        assert_eq!((receiver.commits(), receiver.committing(ticket)), (0, None));
        rogue.pair.bob.is_stuck = false;
        let mut rogue = rogue.again(&config, 2);
        rogue.send_with(&Message::Offer(inline(0, b"a", b"small")), b"small");
        let said: Vec<_> = rogue.turn().iter().map(Message::name).collect();
        assert_eq!(said, [answer, Name::Over]);
        assert_eq!(rogue.pair.bob.open.len(), 0);
    }
}
