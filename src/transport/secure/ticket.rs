//! Ticket of a receiver for a sender that it does not know: its address, its key, and a secret that admits the
//! sender.

use std::fmt;
use std::io;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::types::{KeyError, PublicKey, TransferId, base32};

/// Address of a listening side, its key, and the secret by which it admits a peer whose key it does not know.
///
/// Its text is `haul://HOST:PORT/KEY/SECRET`, with commas between several addresses. Whoever sees it can be admitted
/// with it, so [`Display`](fmt::Display) is for the one person that it is for, and [`Debug`](fmt::Debug) leaves the
/// secret out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    addresses: Vec<String>,
    key: PublicKey,
    secret: TicketSecret,
}

/// A secret that lives as long as whoever made it: 16 random bytes. They are overwritten when it is dropped, and are
/// shown by nothing but the text of a [`Ticket`] and [`TicketSecret::to_text`].
#[derive(Clone)]
pub struct TicketSecret(Zeroizing<[u8; SECRET]>);

/// Reason why a text is no ticket. Nothing of the text is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// The text has another form.
    #[error("a ticket has the form haul://HOST:PORT/KEY/SECRET")]
    Form,
    /// An address is none.
    #[error("the address in the ticket is not HOST:PORT")]
    Address,
    /// The key is none.
    #[error("the key in the ticket is wrong: {0}")]
    Key(KeyError),
    /// The secret is none.
    #[error("the secret at the end of the ticket is cut short, or has a typing error")]
    Secret,
}

impl TicketSecret {
    /// Makes a new one, from the random numbers of the system.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Other`] where the system gives no random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; SECRET]);
        SystemRandom::new()
            .fill(&mut *secret)
            .map_err(|_| io::Error::other("the system gives no random numbers for a ticket"))?;
        Ok(Self(secret))
    }

    /// Reads a secret as [`TicketSecret::to_text`] writes it. For transports whose addresses no [`Ticket`] can hold.
    ///
    /// # Errors
    ///
    /// [`TicketError::Secret`].
    pub fn from_text(text: &str) -> Result<Self, TicketError> {
        let mut bytes = Zeroizing::new([0; SECRET + CHECK]);
        base32::decode(PURPOSE, text, &mut *bytes, CHECK).map_err(|_| TicketError::Secret)?;
        let mut secret = Zeroizing::new([0; SECRET]);
        secret.copy_from_slice(&bytes[..SECRET]);
        Ok(Self(secret))
    }

    /// Returns the secret as it stands at the end of a [`Ticket`], for the one person that it is for: 32 characters, by
    /// which a typing error is noticed. The text is overwritten when it is dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; SECRET + CHECK]);
        bytes[..SECRET].copy_from_slice(&*self.0);
        let mut text = Zeroizing::new(String::with_capacity(TEXT));
        base32::encode(PURPOSE, &mut *bytes, CHECK, &mut text);
        text
    }

    /// Returns the proof, on a channel and by either role, of having the secret: rule M-1b of the
    /// wire document.
    pub(crate) fn proof(
        &self,
        is_of_sender: bool,
        binding: &[u8; 32],
        transfer: TransferId,
    ) -> [u8; 32] {
        let key = Zeroizing::new(blake3::derive_key(PROOF, &*self.0));
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&[u8::from(!is_of_sender)]).update(binding).update(transfer.as_bytes());
        hasher.finalize().into()
    }
}

impl Ticket {
    /// Returns a ticket for whoever has this key and listens at these addresses, each `HOST:PORT`, or `[HOST]:PORT`
    /// with version 6 of the Internet Protocol.
    ///
    /// # Errors
    ///
    /// [`TicketError::Address`], if one of them is something else, or there is none.
    pub fn new(
        addresses: impl IntoIterator<Item = String>,
        key: PublicKey,
        secret: TicketSecret,
    ) -> Result<Self, TicketError> {
        let addresses: Vec<String> = addresses.into_iter().collect();
        if addresses.is_empty() || !addresses.iter().all(|address| is_address(address)) {
            return Err(TicketError::Address);
        }
        Ok(Self { addresses, key, secret })
    }

    /// Returns the addresses to connect to: at least one.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Returns the key that is expected there.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns the secret to be proved.
    #[must_use]
    pub const fn secret(&self) -> &TicketSecret {
        &self.secret
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.to_text();
        write!(f, "{SCHEME}{}/{}/{}", self.addresses.join(","), self.key, *secret)
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let mut parts = text.strip_prefix(SCHEME).ok_or(TicketError::Form)?.split('/');
        let (Some(addresses), Some(key), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TicketError::Form);
        };
        let key = key.parse().map_err(TicketError::Key)?;
        let secret = TicketSecret::from_text(secret)?;
        Self::new(addresses.split(',').map(str::to_owned), key, secret)
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret(..)")
    }
}

impl PartialEq for TicketSecret {
    fn eq(&self, other: &Self) -> bool {
        // Hashes are compared in the same time, whatever they are.
        blake3::hash(&*self.0) == blake3::hash(&*other.0)
    }
}

impl Eq for TicketSecret {}

/// Returns whether the text is `HOST:PORT`, without anything that a ticket or a shell would take for
/// something else.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = is_port && port.parse::<u16>().is_ok_and(|port| port != 0);
    let all = |text: &str, others: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => all(host, ":.%_-"),
        None => all(host, "._-"),
    };
    is_port && is_host
}

/// The bytes of a secret: more than anybody can try.
const SECRET: usize = 16;

/// The bytes of its check. With the secret, a multiple of 5.
const CHECK: usize = 4;

/// The characters of a secret with its check.
const TEXT: usize = base32::text_len(SECRET + CHECK);

const SCHEME: &str = "haul://";

const PROOF: &str = "haul wire 1: proof of a ticket";

const PURPOSE: &str = "haul: check of the secret of a ticket, version 1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket(addresses: &[&str]) -> Ticket {
        let addresses = addresses.iter().map(|address| (*address).to_owned());
        let secret = TicketSecret::generate().unwrap();
        Ticket::new(addresses, PublicKey::from_bytes([7; 32]), secret).unwrap()
    }

    #[test]
    fn ticket_comes_back_from_its_text_and_shows_its_secret_nowhere_else() {
        for addresses in [
            &["192.168.1.5:7117"][..],
            &["[fe80::1%eth0]:7117"],
            &["nas_1.local:1", "10.0.0.5:65535"],
        ] {
            let ticket = ticket(addresses);
            let text = ticket.to_string();
            assert_eq!(text.parse::<Ticket>().as_ref(), Ok(&ticket));
            let secret = text.rsplit('/').next().unwrap();
            assert_eq!(secret.len(), TEXT);
            let raw = format!("{:?}", &ticket.secret.0[..4]);
            let shown = format!("{ticket:?} {:?}", ticket.secret());
            assert!(!shown.contains(secret) && !shown.contains(&secret[..8]), "{shown}");
            assert!(!shown.contains(raw.trim_matches(['[', ']'])), "{shown}");
        }
    }

    #[test]
    fn ticket_with_a_slip_in_key_or_secret_is_none_and_the_error_shows_neither() {
        let ticket = ticket(&["10.0.0.5:7117"]);
        let text = ticket.to_string();
        let begin = text.find("7117/").unwrap() + 5;
        for at in begin..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            let error = wrong.parse::<Ticket>().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(&text[text.len() - 12..]), "{shown}");
            assert!(text[..at].parse::<Ticket>().is_err(), "it is cut short");
        }
    }

    #[test]
    fn text_of_another_form_or_address_is_no_ticket() {
        let (key, secret) = (PublicKey::from_bytes([7; 32]), TicketSecret::generate().unwrap());
        for bad in
            ["", "host", "host:0", "host:", ":1", "a b:1", "h:1,i:2", "h;x:1", "[]:1", "h/i:1"]
        {
            let made = Ticket::new([bad.to_owned()], key, secret.clone());
            assert_eq!(made, Err(TicketError::Address), "{bad}");
        }
        assert_eq!(Ticket::new([], key, secret), Err(TicketError::Address));
        for bad in ["", "haul://", "haul://h:1/k", "http://h:1/k/s", "haul://h:1/k/s/t"] {
            assert_eq!(bad.parse::<Ticket>(), Err(TicketError::Form), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_ticket_or_an_error(text in "(haul://)?[a-z0-9:./,\\[\\]]{0,40}\\PC{0,9}") {
            prop_assert!(text.parse::<Ticket>().is_err());
        }

        #[test]
        fn secret_comes_back_from_its_text(bytes: [u8; SECRET]) {
            let secret = TicketSecret(Zeroizing::new(bytes));
            let text = secret.to_text();
            prop_assert_eq!(text.len(), 32);
            prop_assert_eq!(TicketSecret::from_text(&text), Ok(secret));
            prop_assert_eq!(TicketSecret::from_text(&text[1..]), Err(TicketError::Secret));
        }
    }
}
