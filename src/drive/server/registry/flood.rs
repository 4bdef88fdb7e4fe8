//! A server among strangers in virtual time: whatever they do, a sender that comes is served soon.
//!
//! What the streams and the cores do is scripted here: how long they take, and when they end. The registry is the server's own.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::drive::clock::Clock;
use crate::drive::retry::Retry;
use crate::drive::session::QUIET;
use crate::store::MemoryStore;
use crate::types::AbortCode;

/// Time that a test lets pass.
#[derive(Clone, Default)]
struct Virtual(Arc<Mutex<Duration>>);

impl Clock for Virtual {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, _: Duration) {
        panic!("nobody waits here");
    }
}

/// Peer that comes to the server. Strangers come again as soon as they are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sends nothing, or never so much that it has greeted: until its deadline.
    Silent,
    /// Sends what is no greeting, so that its session ends.
    Garbage,
    /// Greets, and sends nothing more.
    Greets,
    /// Greets, and passes the floor every 4 s: that moves nothing, and ends nothing before its deadline.
    PassesTheFloor,
    /// Greets, waits until it may go on, and goes.
    Leaves,
    /// Sends a file.
    Sender,
}

const STRANGERS: [Kind; 5] =
    [Kind::Silent, Kind::Garbage, Kind::Greets, Kind::PassesTheFloor, Kind::Leaves];

/// Number of them.
const MANY: usize = 300;

/// The time of a look at everything.
const STEP: Duration = Duration::from_millis(10);

/// Time from one end to the other and back.
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// Interval at which a stream returns that has nothing, as in the command.
const STREAM_TICK: Duration = Duration::from_millis(200);

const HELLO: Duration = Duration::from_secs(10);

struct Guest {
    kind: Kind,
    transfer: TransferId,
    attempt: u32,
    retries: u32,
    at: Where,
}

enum Where {
    /// Absent, and comes at that time.
    Away(Duration),
    /// The system has it, and the acceptor was not asked.
    Queued,
    /// Connected since then.
    Connected(SessionId, Ear, Duration, Step),
}

/// Channels by which a session learns of others, and others of it.
#[derive(Clone, Default)]
struct Ear {
    cancel: CancelToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    New,
    Waits,
    /// Invited since then: may offer something.
    Invited(Duration),
}

/// Act of one peer in a step.
enum Does {
    Stays(Step),
    /// Its connection is over.
    Ends,
    IsServed,
}

struct Flood {
    shared: Shared<MemoryStore>,
    clock: Virtual,
    guests: Vec<Guest>,
    backlog: VecDeque<usize>,
    next: u64,
    most: usize,
}

impl Flood {
    fn new(clock: Virtual, kind: Kind, comes: Duration, sessions: usize) -> Self {
        let bounds = Bounds { sessions, waiting: 64, strangers: 64 };
        let shared =
            Shared::with_clock(bounds, MemoryStore::new(), SharedClock::new(clock.clone()));
        let guest = |(number, (kind, comes))| {
            let transfer = TransferId::new(u128::to_le_bytes(number));
            Guest { kind, transfer, attempt: 0, retries: 0, at: Where::Away(comes) }
        };
        let strangers = (0..MANY).map(|_| (kind, Duration::ZERO));
        let all = strangers.chain([(Kind::Sender, comes)]);
        let guests = (0..).zip(all).map(guest).collect();
        Self { shared, clock, guests, backlog: VecDeque::new(), next: 0, most: 0 }
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Lets a step pass. `true`: the sender has its place.
    fn step(&mut self) -> bool {
        let now = self.now();
        for (number, guest) in self.guests.iter_mut().enumerate() {
            if matches!(guest.at, Where::Away(until) if until <= now) {
                guest.at = Where::Queued;
                self.backlog.push_back(number);
            }
        }
        while !self.backlog.is_empty() && self.shared.lock().places.has_room(now) {
            let Some(number) = self.backlog.pop_front() else { break };
            let (id, ear) = (SessionId(self.next), Ear::default());
            self.next += 1;
            self.shared.enter(id, &ear.cancel);
            self.guests[number].at = Where::Connected(id, ear, now, Step::New);
        }
        self.most = self.most.max(self.shared.lock().places.count());
        for number in 0..self.guests.len() {
            let guest = &self.guests[number];
            let Where::Connected(id, ear, since, step) = &guest.at else { continue };
            let (id, ear, since) = (*id, ear.clone(), *since);
            let does = if ear.cancel.code() == Some(AbortCode::Stalled) {
                // It learns so at a tick of its stream.
                let is_tick = (now - since).as_millis().is_multiple_of(STREAM_TICK.as_millis());
                if is_tick { Does::Ends } else { Does::Stays(*step) }
            } else {
                let spent = now - since;
                self.act(number, id, &ear, *step, spent)
            };
            let guest = &mut self.guests[number];
            match does {
                Does::Stays(step) => guest.at = Where::Connected(id, ear, since, step),
                Does::IsServed => return true,
                Does::Ends => {
                    self.shared.leave(id, None, None, now);
                    self.shared.close_connection(id);
                    let mut pause = Duration::ZERO;
                    if guest.kind == Kind::Sender {
                        pause = Retry::default().pause(guest.retries, 1024);
                        guest.retries += 1;
                    }
                    guest.at = Where::Away(now + pause);
                }
            }
        }
        self.shared.take_gone();
        *self.clock.0.lock().unwrap() += STEP;
        false
    }

    fn act(
        &mut self,
        number: usize,
        id: SessionId,
        Ear { cancel }: &Ear,
        step: Step,
        spent: Duration,
    ) -> Does {
        let now = self.now();
        let Guest { kind, transfer, attempt, .. } = &mut self.guests[number];
        let kind = *kind;
        match step {
            Step::New if spent < ROUND_TRIP / 2 => Does::Stays(step),
            Step::New if kind == Kind::Garbage => Does::Ends,
            Step::New if kind == Kind::Silent && spent < HELLO => Does::Stays(step),
            Step::New if kind == Kind::Silent => Does::Ends,
            Step::New => {
                *attempt += 1;
                let (greeting, attempt) = (tests::greeting(*transfer, None), Some(*attempt));
                match self.shared.take_over(id, &greeting, attempt) {
                    Greeted::Begins { .. } => self.asks(id, now),
                    _ => Does::Ends,
                }
            }
            Step::Waits => self.asks(id, now),
            Step::Invited(_) if kind == Kind::Leaves => Does::Ends,
            Step::Invited(since) if kind == Kind::PassesTheFloor => {
                // What its session asks once nothing moved for long.
                let is_quiet = now - since >= QUIET;
                if is_quiet && self.shared.yields(id) { Does::Ends } else { Does::Stays(step) }
            }
            Step::Invited(since) if kind == Kind::Sender && now >= since + ROUND_TRIP => {
                // It is not waited for here.
                cancel.cancel();
                if self.shared.seat(id, cancel) { Does::IsServed } else { Does::Ends }
            }
            Step::Invited(_) => Does::Stays(step),
        }
    }

    fn asks(&self, id: SessionId, now: Duration) -> Does {
        match self.shared.admit(id, Duration::ZERO) {
            Admission::Yes => Does::Stays(Step::Invited(now)),
            Admission::NotYet => Does::Stays(Step::Waits),
            Admission::Never => Does::Ends,
        }
    }
}

#[test]
fn sender_is_served_within_two_seconds_whatever_three_hundred_strangers_do() {
    for kind in STRANGERS {
        for (comes, sessions) in [(0, 8), (370, 1), (1130, 8), (70_000, 4)] {
            let comes = Duration::from_millis(comes);
            let mut flood = Flood::new(Virtual::default(), kind, comes, sessions);
            while !flood.step() {
                assert!(
                    flood.now() < comes + Duration::from_secs(10),
                    "{kind:?}: it is not served"
                );
            }
            let took = flood.now() - comes;
            assert!(took <= Duration::from_secs(2), "{kind:?}, {comes:?}: it takes {took:?}");
            let bound = flood.shared.lock().places.bounds().connections();
            assert!(flood.most <= bound, "{kind:?}: {} connections", flood.most);
        }
    }
}
