//! Encryption and identity over any transport: TLS 1.3 with raw public keys.
//!
//! [`Secure::dial`] and [`Secure::listen`] wrap any [`Connector`] and any [`Acceptor`]; the result is one again.
//! Everybody has one [`SecretKey`], and is known by its [`PublicKey`]. Whoever dials names the keys that it
//! [expects](Expect); whoever listens takes any key, and asks the stream [whose it is](SecureStream::peer_key).
//!
//! ```
//! use haul::transport::memory;
//! use haul::transport::secure::{Expect, SecretKey, Secure};
//! # use std::num::NonZeroUsize;
//!
//! let (alice, bob) = (SecretKey::generate()?, SecretKey::generate()?);
//! let (connector, acceptor) = memory::network(NonZeroUsize::MIN);
//! let connector = Secure::dial(connector, &alice, Expect::key(bob.public()))?;
//! let acceptor = Secure::listen(acceptor, &bob)?;
//! # let (_, _) = (connector, acceptor);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What it promises
//!
//! - What is read was written by the holder of the key that [`SecureStream::peer_key`] gives, in this session, in this
//!   order, and nothing is missing. Nobody between both ends can read it, or change it without an error.
//! - A stream that was cut is told from one that was ended.
//! - Both keys are shown to the other end alone: somebody who listens sees neither, and somebody who is not
//!   [expected](Expect) does not see that of whoever dials.
//!
//! # What it does not
//!
//! - It does not hide that two addresses talk, when, and how much.
//! - Whoever has a secret key is its owner. Sessions that are over stay secret when a key is stolen later, as each has
//!   a key of its own (X25519); a session that a future quantum computer has recorded does not.
//!
//! # How it works
//!
//! Version 1.3 alone (RFC 8446); Ed25519 keys, without certificates (RFC 7250); AES-128-GCM where the processor has
//! instructions for it, else ChaCha20-Poly1305. There are no tickets, no resumption and no early data, and a listening
//! end sends nothing of itself after the handshake: a line that carries one direction at a time will do, and so will
//! one thread. The handshake is done by the first calls of the stream, one round trip before the first byte, and so
//! falls under the deadlines of the session.

mod keep;
mod key;
mod stream;
#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
mod ticket;
mod tls;

use std::io;

pub use self::key::SecretKey;
pub use self::stream::{SecureError, SecureStream};
pub use self::ticket::{Ticket, TicketError, TicketSecret};
use super::{Acceptor, Channel, Connector, Peer, Waker};
pub use crate::types::{KeyError, PublicKey};

/// Maker of secure transports from others.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Secure;

/// Keys that the dialling side accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect(Option<Vec<PublicKey>>);

/// A [`Connector`] whose streams are secure; see [`Secure::dial`].
#[derive(Debug, Clone)]
pub struct SecureConnector<C> {
    inner: C,
    dialer: tls::Dialer,
}

/// An [`Acceptor`] whose streams are secure; see [`Secure::listen`].
#[derive(Debug, Clone)]
pub struct SecureAcceptor<A> {
    inner: A,
    listener: tls::Listener,
}

impl Secure {
    /// Connects by `connector`, proves to be the owner of `key`, and takes none but the keys that are expected at the
    /// other end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the key cannot be used.
    pub fn dial<C: Connector>(
        connector: C,
        key: &SecretKey,
        expect: Expect,
    ) -> io::Result<SecureConnector<C>> {
        Ok(SecureConnector { inner: connector, dialer: tls::Dialer::new(key, expect)? })
    }

    /// Accepts by `acceptor`, and proves to be the owner of `key`. Who comes must prove to have a key, whichever it is:
    /// [`SecureStream::peer_key`] returns which.
    ///
    /// Nothing is waited for in [`accept`](Acceptor::accept): who comes and does not greet holds up nobody else.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the key cannot be used.
    pub fn listen<A: Acceptor>(acceptor: A, key: &SecretKey) -> io::Result<SecureAcceptor<A>> {
        Ok(SecureAcceptor { inner: acceptor, listener: tls::Listener::new(key)? })
    }
}

impl<A> SecureAcceptor<A> {
    /// Returns the acceptor below.
    pub const fn get_ref(&self) -> &A {
        &self.inner
    }
}

impl Expect {
    /// Accepts this key, and no other.
    #[must_use]
    pub fn key(key: PublicKey) -> Self {
        Self::any_of([key])
    }

    /// Accepts each of these keys; with none, nobody.
    #[must_use]
    pub fn any_of(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(Some(keys.into_iter().collect()))
    }

    /// Accepts any peer. It keeps out those who only listen: somebody between both ends can pose as the other one
    /// to each of them, unless [`SecureStream::peer_key`] is looked at.
    #[must_use]
    pub const fn anyone() -> Self {
        Self(None)
    }

    fn takes(&self, key: PublicKey) -> bool {
        self.0.as_ref().is_none_or(|keys| keys.contains(&key))
    }
}

impl<C: Connector> Connector for SecureConnector<C> {
    type Stream = SecureStream<C::Stream>;

    /// Connects; the handshake is left to the stream.
    fn connect(&mut self) -> io::Result<Self::Stream> {
        let stream = self.inner.connect()?;
        Ok(SecureStream::new(stream, self.dialer.connection()?))
    }

    fn is_waiting(&self) -> bool {
        self.inner.is_waiting()
    }

    fn channel(&self, stream: &Self::Stream) -> Option<Channel> {
        Some(stream.channel())
    }
}

impl<A: Acceptor> Acceptor for SecureAcceptor<A> {
    type Stream = SecureStream<A::Stream>;

    fn accept(&mut self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, peer) = self.inner.accept()?;
        Ok((SecureStream::new(stream, self.listener.connection()?), peer))
    }

    fn waker(&self) -> Option<Waker> {
        self.inner.waker()
    }

    fn channel(&self, stream: &Self::Stream) -> Option<Channel> {
        Some(stream.channel())
    }
}
