//! Quota of a log: how much of it the peers of one address can fill with names that they choose.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use haul::Peer;

/// Quotas that the sessions of a server have left, by the addresses of their peers.
#[derive(Debug)]
pub(crate) struct Quotas {
    started: Instant,
    /// Time at which what was written for an address is made up for. Invariant: at most [`MOST`], and one for
    /// all others.
    due: Mutex<HashMap<Key, [Duration; 2]>>,
}

/// Quota that one session shares with others of its address.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    quotas: Arc<Quotas>,
    key: Key,
}

/// Reader for whom something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    People,
    Programs,
}

/// Sessions that share a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// An IPv4 address, or the half of an IPv6 address that names its network.
    Network(u64),
    /// All that have no address, or are more than can be told apart.
    Others,
}

impl Quotas {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), due: Mutex::default() })
    }

    /// Returns the quota of whoever has the address of this peer.
    pub(crate) fn of(self: &Arc<Self>, peer: &Peer) -> Quota {
        Quota { quotas: Arc::clone(self), key: Key::of(peer) }
    }

    /// Spends so many bytes at this time; `false` if there are not enough left.
    fn spend(&self, key: Key, reader: Reader, bytes: usize, now: Duration) -> bool {
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&key) {
            all.retain(|_, due| due.iter().any(|due| *due > now));
        }
        let key = if all.len() < MOST || all.contains_key(&key) { key } else { Key::Others };
        let due = reader.of(all.entry(key).or_default());
        let next = (*due).max(now).saturating_add(reader.time(bytes));
        let may = next.saturating_sub(now) <= reader.time(reader.burst());
        if may {
            *due = next;
        }
        may
    }

    fn give_back(&self, key: Key, reader: Reader, bytes: usize) {
        let mut all = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = all.get_mut(&key) {
            let due = reader.of(due);
            *due = due.saturating_sub(reader.time(bytes));
        }
    }
}

impl Quota {
    /// Spends so many bytes; `false` if there are not enough left.
    pub(crate) fn spend(&self, reader: Reader, bytes: usize) -> bool {
        self.quotas.spend(self.key, reader, bytes, self.quotas.started.elapsed())
    }

    /// Gives back what was spent for something that is no burden.
    pub(crate) fn give_back(&self, reader: Reader, bytes: usize) {
        self.quotas.give_back(self.key, reader, bytes);
    }
}

impl Reader {
    fn of(self, due: &mut [Duration; 2]) -> &mut Duration {
        let [people, programs] = due;
        match self {
            Self::People => people,
            Self::Programs => programs,
        }
    }

    /// Returns the number of bytes that may be written at once.
    const fn burst(self) -> usize {
        match self {
            Self::People => 32 << 10,
            Self::Programs => 16 << 20,
        }
    }

    /// Returns the time after which so many bytes are made up for: 16 a second, or 1 KiB.
    const fn time(self, bytes: usize) -> Duration {
        let rate = match self {
            Self::People => 16,
            Self::Programs => 1 << 10,
        };
        // No more than a burst is ever asked for, or it is refused.
        Duration::from_millis((bytes as u64).saturating_mul(1000) / rate)
    }
}

impl Key {
    fn of(peer: &Peer) -> Self {
        match peer {
            Peer::Address(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => Self::Network(u32::from(ip).into()),
                IpAddr::V6(ip) => Self::Network((u128::from(ip) >> 64) as u64),
            },
            _ => Self::Others,
        }
    }
}

/// Number of addresses that are told apart.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::Network(1);

    #[test]
    fn quota_is_a_burst_at_once_and_a_rate_after_it() {
        let quotas = Quotas::new();
        let all =
            |now| (0..10_000).filter(|_| quotas.spend(KEY, Reader::People, 1024, now)).count();
        assert_eq!(all(Duration::ZERO), 32);
        assert_eq!(all(Duration::from_secs(63)), 0);
        assert_eq!(all(Duration::from_secs(10 * 64)), 10);
        assert!(!quotas.spend(KEY, Reader::People, usize::MAX, Duration::from_secs(1 << 40)));
        // What is for programs is another matter, and so is another address.
        assert!(quotas.spend(KEY, Reader::Programs, 1 << 20, Duration::ZERO));
        assert!(quotas.spend(Key::Network(2), Reader::People, 1024, Duration::ZERO));
    }

    #[test]
    fn quota_that_is_given_back_can_be_spent_again() {
        let quotas = Quotas::new();
        for _ in 0..1000 {
            assert!(quotas.spend(KEY, Reader::Programs, 1 << 20, Duration::ZERO));
            quotas.give_back(KEY, Reader::Programs, 1 << 20);
        }
    }

    #[test]
    fn quotas_are_bounded_whatever_number_of_addresses_there_is() {
        let quotas = Quotas::new();
        for network in 0..5 * MOST as u64 {
            quotas.spend(Key::Network(network), Reader::People, 4096, Duration::ZERO);
        }
        assert_eq!(quotas.due.lock().unwrap().len(), MOST + 1);
        // They are forgotten once they are made up for.
        assert!(quotas.spend(Key::Network(1 << 40), Reader::People, 1, Duration::from_secs(5000)));
        assert_eq!(quotas.due.lock().unwrap().len(), 1);
    }

    #[test]
    fn quota_of_an_address_is_that_of_all_its_ports_and_of_its_network() {
        let of = |text: &str| Key::of(&Peer::Address(text.parse().unwrap()));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:2"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:2]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(Key::of(&Peer::Pipe), Key::Others);
    }
}
