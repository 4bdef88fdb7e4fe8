//! Admission of peers to a transfer.

use std::fmt;
use std::sync::{Arc, OnceLock};
#[cfg(feature = "secure")]
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "secure")]
use crate::transport::secure::TicketSecret;
use crate::types::{PublicKey, TransferId};

/// Decision about who is admitted: made once for each connection, when the peer has greeted, and before anything is
/// looked at for it.
///
/// A peer that is not admitted gets [`AbortCode::NotAdmitted`](crate::AbortCode::NotAdmitted), in which this
/// side ends too; it holds no place of a [`Server`](crate::Server), and of a transfer nobody offers it anything. Any
/// `Fn(&Greeting) -> bool` will do; [`AllowList`] is one by keys and tickets. By default everybody is admitted.
///
/// It is called in the thread of the session: others are not kept waiting by it.
pub trait Admit: Send + Sync {
    /// Returns whether this peer is admitted.
    fn admits(&self, greeting: &Greeting) -> bool;
}

impl<F: Fn(&Greeting) -> bool + Send + Sync> Admit for F {
    fn admits(&self, greeting: &Greeting) -> bool {
        self(greeting)
    }
}

/// Identity of a peer that has greeted.
#[derive(Clone, Copy)]
pub struct Greeting {
    pub(super) channel: Option<([u8; 32], PublicKey)>,
    pub(super) is_of_sender: bool,
    pub(super) transfer: TransferId,
    pub(super) proof: Option<[u8; 32]>,
}

impl Greeting {
    /// Returns the key that the peer has proved to have; `None` on a stream that knows nothing of
    /// its ends.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.channel.map(|(_, key)| key)
    }

    /// Returns the transfer, as the sender named it.
    #[must_use]
    pub const fn transfer(&self) -> TransferId {
        self.transfer
    }

    /// Returns the 32 bytes that only both ends of the channel know; `None` as for
    /// [`key`](Greeting::key).
    #[must_use]
    pub fn binding(&self) -> Option<[u8; 32]> {
        self.channel.map(|(binding, _)| binding)
    }

    /// Returns whether the peer is a sender.
    #[must_use]
    pub const fn is_of_sender(&self) -> bool {
        self.is_of_sender
    }

    /// Returns the peer's proof of a secret, for whoever has secrets of another kind than tickets.
    #[must_use]
    pub const fn proof(&self) -> Option<[u8; 32]> {
        self.proof
    }

    /// Returns whether the peer has proved, on this very channel and for this transfer, that it has the secret of a
    /// ticket.
    #[cfg(feature = "secure")]
    #[must_use]
    pub fn proves(&self, secret: &TicketSecret) -> bool {
        let (Some((binding, _)), Some(proof)) = (self.channel, self.proof) else { return false };
        let expected = secret.proof(self.is_of_sender, &binding, self.transfer);
        // Hashes are compared in the same time, whatever they are.
        blake3::Hash::from_bytes(expected) == blake3::Hash::from_bytes(proof)
    }
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting")
            .field("key", &self.key())
            .field("transfer", &self.transfer)
            .finish_non_exhaustive()
    }
}

/// Admission by keys, and by the secret of a ticket.
///
/// The first key that proves the secret claims it: its owner may come again, as often as it likes, and whoever comes
/// with the same ticket and another key is not admitted. Clones share what was claimed.
#[cfg(feature = "secure")]
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    keys: Vec<PublicKey>,
    ticket: Option<TicketSecret>,
    is_shared: bool,
    claimed: Arc<Mutex<Option<PublicKey>>>,
}

#[cfg(feature = "secure")]
impl AllowList {
    /// Creates a set that admits nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Admits these keys too.
    #[must_use]
    pub fn keys(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.keys.extend(keys);
        self
    }

    /// Admits the first key that proves this secret.
    #[must_use]
    pub fn ticket(mut self, secret: TicketSecret) -> Self {
        (self.ticket, self.is_shared) = (Some(secret), false);
        self
    }

    /// Admits every key that proves this secret.
    #[must_use]
    pub fn shared_ticket(mut self, secret: TicketSecret) -> Self {
        (self.ticket, self.is_shared) = (Some(secret), true);
        self
    }

    /// Returns the key that has claimed the ticket.
    #[must_use]
    pub fn claimed(&self) -> Option<PublicKey> {
        *self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "secure")]
impl Admit for AllowList {
    fn admits(&self, greeting: &Greeting) -> bool {
        let Some(key) = greeting.key() else { return false };
        if self.keys.contains(&key) {
            return true;
        }
        if !self.ticket.as_ref().is_some_and(|secret| greeting.proves(secret)) {
            return false;
        }
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_shared || *claimed.get_or_insert(key) == key
    }
}

/// A transfer's channel, the peers that it admits, and the secret that it can prove.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// The channel of the next connection.
    pub(super) channel: Option<crate::transport::Channel>,
    pub(super) admit: Option<Arc<dyn Admit>>,
    /// The key of the receiver with which an entry of the transfer was settled: the rest is for it alone, or what is
    /// said of all entries together would be true of nobody.
    pub(super) receiver: Arc<OnceLock<PublicKey>>,
    #[cfg(feature = "secure")]
    pub(super) ticket: Option<TicketSecret>,
}

impl Access {
    pub(super) fn admits(&self, greeting: &Greeting) -> bool {
        self.admit.as_ref().is_none_or(|admit| admit.admits(greeting))
    }

    /// Returns whether this receiver is sent to.
    pub(super) fn admits_receiver(&self, greeting: &Greeting) -> bool {
        let is_other = self.receiver.get().is_some_and(|key| greeting.key() != Some(*key));
        !is_other && self.admits(greeting)
    }

    /// Forgets the receivers of earlier transfers.
    pub(super) fn begin_sending(&mut self) {
        self.receiver = Arc::default();
    }

    /// Takes note that something was settled with whoever is at the other end of the channel.
    pub(super) fn keep_to_receiver(&self) {
        if let Some(key) = self.channel.as_ref().and_then(|channel| channel.peer_key()) {
            // The first one stays.
            let _ = self.receiver.set(key);
        }
    }

    /// Returns the proof for a greeting of this side, if it has a secret, and a channel to prove it
    /// on.
    pub(super) fn proof(&self, is_of_sender: bool, transfer: TransferId) -> Option<[u8; 32]> {
        #[cfg(feature = "secure")]
        {
            let binding = self.channel.as_ref()?.binding()?;
            self.ticket.as_ref().map(|secret| secret.proof(is_of_sender, &binding, transfer))
        }
        #[cfg(not(feature = "secure"))]
        {
            let _ = (is_of_sender, transfer);
            None
        }
    }

    /// Returns the identity that the peer has shown, `proof` among it.
    pub(super) fn greeting(
        &self,
        is_of_sender: bool,
        transfer: TransferId,
        proof: Option<[u8; 32]>,
    ) -> Greeting {
        let channel = self.channel.as_ref();
        let channel = channel.and_then(|channel| channel.binding().zip(channel.peer_key()));
        Greeting { channel, is_of_sender, transfer, proof }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("channel", &self.channel).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "secure")]
mod tests {
    use super::*;

    fn key(of: u8) -> PublicKey {
        PublicKey::from_bytes([of; 32])
    }

    fn greeting(of: u8, secret: &TicketSecret) -> Greeting {
        let transfer = TransferId::new([of; 16]);
        let proof = Some(secret.proof(true, &[of; 32], transfer));
        Greeting { channel: Some(([of; 32], key(of))), is_of_sender: true, transfer, proof }
    }

    #[test]
    fn proof_is_of_one_role_one_channel_one_transfer_and_one_secret() {
        let (secret, other) =
            (TicketSecret::generate().unwrap(), TicketSecret::generate().unwrap());
        let good = greeting(1, &secret);
        assert!(good.proves(&secret) && !good.proves(&other));
        for (what, bad) in [
            ("role", Greeting { is_of_sender: false, ..good }),
            ("channel", Greeting { channel: Some(([2; 32], key(1))), ..good }),
            ("transfer", Greeting { transfer: TransferId::new([2; 16]), ..good }),
            ("stripped", Greeting { proof: None, ..good }),
            ("no channel", Greeting { channel: None, ..good }),
        ] {
            assert!(!bad.proves(&secret), "{what}");
            assert!(!AllowList::new().ticket(secret.clone()).admits(&bad), "{what}");
        }
    }

    #[test]
    fn ticket_is_claimed_by_the_first_key_that_proves_it_and_lets_in_no_other() {
        let (secret, wrong) =
            (TicketSecret::generate().unwrap(), TicketSecret::generate().unwrap());
        let list = AllowList::new().keys([key(9)]).ticket(secret.clone());
        assert!(!list.admits(&greeting(1, &wrong)) && list.claimed().is_none());
        assert!(list.admits(&greeting(9, &wrong)), "its key is enough");
        assert!(list.claimed().is_none(), "who needs no ticket takes none");
        assert!(list.admits(&greeting(1, &secret)) && list.claimed() == Some(key(1)));
        assert!(!list.admits(&greeting(2, &secret)), "it is claimed");
        assert!(list.admits(&greeting(1, &secret)), "who has claimed it comes again");
        assert!(!list.admits(&greeting(1, &wrong)), "but proves it each time");
        let shared = AllowList::new().shared_ticket(secret.clone());
        assert!(shared.admits(&greeting(1, &secret)) && shared.admits(&greeting(2, &secret)));
    }

    #[test]
    fn greeting_and_access_show_neither_proof_nor_secret() {
        let secret = TicketSecret::generate().unwrap();
        let greeting = greeting(7, &secret);
        let access = Access { ticket: Some(secret), ..Access::default() };
        let proof = format!("{:?}", greeting.proof.unwrap());
        let shown = format!("{greeting:?} {access:?}");
        assert!(!shown.contains(&proof[1..20]), "{shown}");
        assert!(shown.contains(&key(7).to_string()), "{shown}");
    }
}
