//! Peers of the command over a network: the key that it expects there, and the keys that it admits.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use haul::drive::AllowList;
use haul::transport::secure::{Expect, PublicKey, Ticket, TicketSecret};
use haul::transport::tcp::HostPort;
use haul::{Admit, Greeting};

use crate::address::Address;
use crate::exit::{Code, Stop};
use crate::explain::{self, shown};
use crate::identity::Identity;
use crate::trust::Trusted;

/// Address to connect to over a network, and the identity to use.
pub(crate) struct Target {
    pub(crate) addresses: Vec<HostPort>,
    pub(crate) keys: Option<Keys>,
}

/// Keys of one connection that is dialed.
pub(crate) struct Keys {
    pub(crate) identity: Identity,
    pub(crate) expect: Expect,
    pub(crate) ticket: Option<TicketSecret>,
}

/// Keys that this user admits: its own, those that it trusts, and whoever proves the secret of the
/// ticket.
#[derive(Clone)]
pub(crate) struct Door {
    owners: Owners,
    secret: TicketSecret,
    guests: AllowList,
}

/// Owners of keys, for people.
#[derive(Clone)]
pub(crate) struct Owners {
    own: PublicKey,
    folder: PathBuf,
}

/// Security of a command over a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With keys.
    Secure,
    /// In clear, though haul is at the other end.
    Insecure,
    /// In clear, as the plain wire always is.
    Plain,
}

impl Target {
    /// Returns the target of an address; `None`: it is not of a network.
    pub(crate) fn of(address: &Address, mode: Mode) -> Result<Option<Self>, Stop> {
        let usage = |text: String| Stop::new(Code::Usage, text);
        let (addresses, known) = match address {
            Address::Unix(_) | Address::Exec(_) | Address::Ssh { .. } => return Ok(None),
            Address::Tcp(address) => (vec![address.clone()], None),
            Address::Named(name) => {
                let folder = crate::identity::folder()?;
                let trusted = Trusted::load(&folder)?;
                let entry = trusted.named(name).ok_or_else(|| {
                    usage(format!(
                        "nobody that this user trusts is called {name} (see haul trust --list)"
                    ))
                })?;
                let address = entry.address.clone().ok_or_else(|| {
                    usage(format!(
                        "it is not known where {name} is: haul trust {} {name} ADDR",
                        entry.key
                    ))
                })?;
                (vec![address], Some((entry.key, None)))
            }
            Address::Ticket(ticket) => {
                let addresses = ticket.addresses().iter().map(|address| address.parse());
                let addresses = addresses.collect::<Result<_, _>>().map_err(|error| {
                    usage(format!("the address in the ticket is not HOST:PORT: {error}"))
                })?;
                (addresses, Some((ticket.key(), Some(ticket.secret().clone()))))
            }
        };
        if mode != Mode::Secure {
            if known.is_some() {
                let text = "a key is expected there, which nobody can prove in clear: \
                            leave --insecure and --plain out";
                return Err(usage(text.into()));
            }
            return Ok(Some(Self { addresses, keys: None }));
        }
        let identity = Identity::open()?;
        let (expect, ticket) = match known {
            Some((key, ticket)) => (Expect::key(key), ticket),
            None => {
                let trusted = Trusted::load(&identity.folder)?;
                let own = identity.key.public();
                (Expect::any_of(trusted.keys().chain([own])), None)
            }
        };
        Ok(Some(Self { addresses, keys: Some(Keys { identity, expect, ticket }) }))
    }
}

impl Identity {
    /// Returns the owners of keys.
    pub(crate) fn owners(&self) -> Owners {
        Owners { own: self.key.public(), folder: self.folder.clone() }
    }
}

impl Owners {
    pub(crate) const fn own(&self) -> PublicKey {
        self.own
    }

    /// Returns whether this user trusts a key, or it is its own.
    pub(crate) fn knows(&self, key: PublicKey) -> bool {
        let trusts = |trusted: Trusted| trusted.keys().any(|it| it == key);
        key == self.own || Trusted::load(&self.folder).is_ok_and(trusts)
    }

    /// Returns this user's name for the owner of a key, if it is known.
    pub(crate) fn name(&self, key: PublicKey) -> Option<String> {
        if key == self.own {
            return Some("this user".into());
        }
        // It is only to be shown.
        Trusted::load(&self.folder).ok()?.name(key).map(ToOwned::to_owned)
    }
}

impl Door {
    pub(crate) fn new(identity: &Identity, is_shared: bool) -> Result<Self, Stop> {
        let secret = TicketSecret::generate()
            .map_err(|error| Stop::new(Code::Local, explain::system(&error)))?;
        let guests = AllowList::new();
        let guests = if is_shared {
            guests.shared_ticket(secret.clone())
        } else {
            guests.ticket(secret.clone())
        };
        Ok(Self { owners: identity.owners(), secret, guests })
    }

    /// Returns a ticket for who reaches this process at an address, as far as that can be written
    /// in one.
    pub(crate) fn ticket(&self, address: SocketAddr) -> Option<Ticket> {
        Ticket::new([address.to_string()], self.owners.own, self.secret.clone()).ok()
    }
}

impl Admit for Door {
    fn admits(&self, greeting: &Greeting) -> bool {
        let Some(key) = greeting.key() else { return false };
        // It is read each time: who has just been trusted is admitted. One that cannot be read admits nobody.
        self.owners.knows(key) || self.guests.admits(greeting)
    }
}

/// Reads a ticket from a file, or from `env:VARIABLE`. What is wrong with it is reported without showing it.
pub(crate) fn read_ticket(from: &str) -> Result<Ticket, Stop> {
    let usage = |text: String| Stop::new(Code::Usage, text);
    let text = match from.strip_prefix("env:") {
        Some(name) => std::env::var(name)
            .map_err(|_| usage(format!("there is no ticket in the variable {name}")))?,
        None => read_some(Path::new(from)).map_err(|error| {
            let (path, reason) = (shown(Path::new(from)), explain::system(&error));
            Stop::new(Code::Local, format!("cannot read the ticket: {path}: {reason}"))
        })?,
    };
    text.trim().parse().map_err(|error| usage(format!("{from}: {error}")))
}

/// Reads a file no further than a ticket can be long: a device may have no end.
fn read_some(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TICKET).read_to_string(&mut text)?;
    Ok(text)
}

/// Longest ticket, with some room: a hundred addresses.
const TICKET: u64 = 16 * 1024;
