//! Addresses as the command takes them.

use std::fmt;
use std::path::PathBuf;

use crate::explain::shown;
use std::str::FromStr;

use haul::transport::secure::{Ticket, TicketError};
use haul::transport::tcp::HostPort;
use haul::types::Escaped;

/// Address at which a sender finds its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `host:port`, `[::1]:port`; `:port` is this machine.
    Tcp(HostPort),
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `exec:COMMAND`: what a shell makes of it.
    Exec(String),
    /// `ssh:USER@HOST:DIR`, and the command for a shell that it stands for.
    Ssh { text: String, command: String },
    /// `@NAME`: where somebody is that this user trusts.
    Named(String),
    /// `haul://HOST:PORT/KEY/SECRET`.
    Ticket(Box<Ticket>),
}

/// Address at which a receiver waits for its senders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `host:port`, `[::1]:port`; `:port` is loopback, as nothing wider is ever chosen unasked.
    Tcp(HostPort),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spot {
    At(Listen),
    /// This port of all interfaces; or of loopback where anybody could come.
    Port(u16),
}

impl Spot {
    /// Returns the place for what was given.
    pub(crate) fn of(listen: Option<&Listen>, port: Option<u16>) -> Self {
        listen.map_or(Self::Port(port.unwrap_or(PORT)), |listen| Self::At(listen.clone()))
    }
}

/// Port to listen at where none is given.
const PORT: u16 = 7117;

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(command) = text.strip_prefix("exec:") {
            return match command.trim() {
                "" => Err("exec: needs a command".into()),
                _ => Ok(Self::Exec(command.into())),
            };
        }
        if let Some(place) = text.strip_prefix("ssh:") {
            let command = ssh(place)?;
            return Ok(Self::Ssh { text: text.into(), command });
        }
        if let Some(name) = text.strip_prefix('@') {
            return match name {
                "" => Err("@ needs the name of somebody that this user trusts".into()),
                _ => Ok(Self::Named(name.into())),
            };
        }
        if text.starts_with("haul://") {
            let ticket = text.parse().map_err(|error: TicketError| {
                format!("copy the whole line that was printed there: {error}")
            })?;
            return Ok(Self::Ticket(Box::new(ticket)));
        }
        Ok(match text.parse()? {
            Listen::Tcp(address) if address.port() == 0 => {
                return Err("nobody can be reached on port 0".into());
            }
            Listen::Tcp(address) => Self::Tcp(address),
            Listen::Unix(path) => Self::Unix(path),
        })
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("unix: needs a path".into()),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        if text.starts_with("exec:") {
            return Err("a command cannot be listened on; run `haul receive --stdio` in it".into());
        }
        let full = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.into() };
        full.parse()
            .map(Self::Tcp)
            .map_err(|error: haul::transport::tcp::AddressError| error.to_string())
    }
}

/// Returns the command that receives into a folder of another machine, over ssh. The folder is below the home there, unless
/// it begins with a slash.
fn ssh(place: &str) -> Result<String, String> {
    let (host, folder) = place.split_once(':').ok_or("ssh: needs a folder: ssh:USER@HOST:DIR")?;
    // An option would be one of ssh.
    if host.is_empty() || host.starts_with('-') {
        return Err("ssh: needs a host: ssh:USER@HOST:DIR".into());
    }
    let folder = match folder.strip_prefix("~/").unwrap_or(folder) {
        "" | "~" => ".",
        folder => folder,
    };
    let remote = format!("haul receive --stdio -- {}", quoted(folder));
    Ok(format!("ssh {} {}", quoted(host), quoted(&remote)))
}

/// Returns a text as one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", shown(path)),
            Self::Exec(command) => write!(f, "exec:{command}"),
            Self::Ssh { text, .. } => f.write_str(text),
            Self::Named(name) => write!(f, "@{}", Escaped(name.as_bytes())),
            // Without the secret.
            Self::Ticket(ticket) => f.write_str(&ticket.addresses().join(",")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", shown(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_each_form_is_understood_and_shown_as_written() {
        for text in
            ["host:7117", "[::1]:7117", "192.0.2.1:1", "unix:/tmp/a b", "exec:ssh host haul"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn address_without_host_is_this_machine() {
        assert_eq!(":7117".parse::<Address>().unwrap().to_string(), "127.0.0.1:7117");
        assert_eq!(":0".parse::<Listen>().unwrap().to_string(), "127.0.0.1:0");
    }

    #[test]
    fn address_over_ssh_is_a_command_whose_words_no_shell_takes_apart() {
        for (text, command) in [
            ("ssh:me@host:in box", r"ssh 'me@host' 'haul receive --stdio -- '\''in box'\'''"),
            ("ssh:host:", r"ssh 'host' 'haul receive --stdio -- '\''.'\'''"),
            ("ssh:host:~/in", r"ssh 'host' 'haul receive --stdio -- '\''in'\'''"),
        ] {
            let Ok(Address::Ssh { command: made, text: kept }) = text.parse() else {
                panic!("{text}")
            };
            assert_eq!((made.as_str(), kept.as_str()), (command, text));
        }
        for text in ["ssh:", "ssh:host", "ssh::in", "ssh:-oProxyCommand=x:in"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn address_that_leads_nowhere_is_refused() {
        for text in
            ["", "host", "host:", "::1:7117", "host:70000", "host:0", "unix:", "exec:", "exec: "]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["", "host", "unix:", "exec:cat"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
