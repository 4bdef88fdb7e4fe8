//! Trusted keys of this user: the file `trusted`, and `haul trust`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use haul::transport::secure::PublicKey;
use haul::transport::tcp::HostPort;
use rustix::fs::{FlockOperation, flock};

use crate::args::Trust;
use crate::exit::{Code, Stop};
use crate::explain::{self, shown};
use crate::help;
use crate::identity::{Identity, read_kept};

/// The keys that a user trusts, in the order in which they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted(Vec<Entry>);

/// A key, and what this user calls its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: PublicKey,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<HostPort>,
}

impl Trusted {
    /// Reads the file. That there is none means that nobody is trusted.
    pub(crate) fn load(folder: &Path) -> Result<Self, Stop> {
        let path = folder.join(FILE);
        let Some(text) = read_kept(&path)? else { return Ok(Self::default()) };
        let wrong = |text| Stop::new(Code::Local, format!("{}: {text}", shown(&path)));
        text.parse().map_err(wrong)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = PublicKey> {
        self.0.iter().map(|entry| entry.key)
    }

    /// Returns this user's name for the owner of a key.
    pub(crate) fn name(&self, key: PublicKey) -> Option<&str> {
        self.0.iter().find(|entry| entry.key == key)?.name.as_deref()
    }

    /// Returns who has this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name.as_deref() == Some(name))
    }

    /// Trusts a key, or changes what is kept of one that is trusted.
    fn add(&mut self, entry: Entry) -> Result<(), String> {
        if let Some(name) = &entry.name
            && let Some(other) = self.named(name).filter(|other| other.key != entry.key)
        {
            let key = other.key;
            return Err(format!("{name} is the name of {key}; haul trust --remove {name}"));
        }
        match self.0.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => self.0.push(entry),
        }
        Ok(())
    }

    /// Trusts a key no longer. `false`: it was not trusted.
    fn remove(&mut self, whom: &str) -> bool {
        let before = self.0.len();
        let key = whom.parse::<PublicKey>().ok();
        self.0.retain(|entry| Some(entry.key) != key && entry.name.as_deref() != Some(whom));
        self.0.len() < before
    }

    fn save(&self, folder: &Path) -> io::Result<()> {
        let (path, new) = (folder.join(FILE), folder.join(format!("{FILE}.new")));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(self.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    }
}

impl std::str::FromStr for Trusted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut trusted = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: String| format!("line {number}: {what}");
            let mut words = line.split_whitespace();
            let entry = Entry::new(words.next().unwrap_or_default(), words.next(), words.next())
                .map_err(wrong)?;
            if words.next().is_some() {
                return Err(wrong("it has more than KEY NAME ADDR".into()));
            }
            trusted.add(entry).map_err(wrong)?;
        }
        Ok(trusted)
    }
}

impl std::fmt::Display for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Entry { key, name, address } in &self.0 {
            write!(f, "{key}")?;
            if name.is_some() || address.is_some() {
                write!(f, " {}", name.as_deref().unwrap_or(NO_NAME))?;
            }
            if let Some(address) = address {
                write!(f, " {address}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Entry {
    fn new(key: &str, name: Option<&str>, address: Option<&str>) -> Result<Self, String> {
        let key = key.parse().map_err(|error| format!("{error}"))?;
        if let Some(name) = name.filter(|name| !is_name(name)) {
            let shown = haul::types::Escaped(name.as_bytes());
            return Err(format!(
                "'{shown}' is not a name: it has 1 to 64 letters, digits, '.', '_' and '-', \
                 and begins with a letter or a digit"
            ));
        }
        if name.is_some_and(|name| name.parse::<PublicKey>().is_ok()) {
            return Err("that is a second key, and no name: trust one key at a time".into());
        }
        let address = address.map(address_of).transpose()?;
        let name = name.filter(|name| *name != NO_NAME).map(ToOwned::to_owned);
        Ok(Self { key, name, address })
    }
}

/// Runs `haul trust`.
pub(crate) fn run(args: &Trust) -> Result<Code, Stop> {
    let Identity { folder, key } = Identity::open()?;
    let local = |error: &io::Error| {
        let (folder, reason) = (shown(&folder), explain::system(error));
        Stop::new(
            Code::Local,
            format!("cannot change whom this user trusts, in {folder}: {reason}"),
        )
    };
    let usage = |text: String| Stop::new(Code::Usage, text);
    if args.list {
        return help::print(Trusted::load(&folder)?.to_string().as_bytes());
    }
    // Of several commands at once each sees what the one before it wrote.
    let lock = File::open(&folder).map_err(|error| local(&error))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| local(&errno.into()))?;
    let mut trusted = Trusted::load(&folder)?;
    if let Some(whom) = &args.remove {
        if !trusted.remove(whom) {
            let whom = haul::types::Escaped(whom.as_bytes());
            return Err(Stop::new(
                Code::Local,
                format!("{whom} is not trusted (see haul trust --list)"),
            ));
        }
    } else {
        let whom = args.key.as_deref().ok_or_else(|| {
            usage(
                "give the KEY to trust, as haul key prints it there, or --list, or --remove".into(),
            )
        })?;
        let (name, address) = (args.name.as_deref(), args.address.as_deref());
        let entry = Entry::new(whom, name, address).map_err(usage)?;
        if entry.key == key.public() {
            return Err(usage("this is the key of this user, which is always trusted".into()));
        }
        trusted.add(entry).map_err(usage)?;
    }
    trusted.save(&folder).map_err(|error| local(&error))?;
    Ok(Code::Done)
}

fn address_of(text: &str) -> Result<HostPort, String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("the address is not host:port".into());
    }
    let address: HostPort =
        text.parse().map_err(|error| format!("the address is not host:port: {error}"))?;
    if address.port() == 0 { Err("nobody can be reached on port 0".into()) } else { Ok(address) }
}

fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name == NO_NAME
        || (name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 64
            && name.chars().all(is_word))
}

const FILE: &str = "trusted";

/// Text in the place of a name, where an address follows.
const NO_NAME: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: u8) -> PublicKey {
        PublicKey::from_bytes([of; 32])
    }

    #[test]
    fn trusted_keys_come_back_from_their_text() {
        let text = format!(
            "# mine\n\n{} nas 10.0.0.5:7117\n {}\n{} - [::1]:1\n{} b.c-d_e\n",
            key(1),
            key(2),
            key(3),
            key(4)
        );
        let trusted: Trusted = text.parse().unwrap();
        assert_eq!(trusted.to_string().parse(), Ok(trusted));
        let trusted: Trusted = text.parse().unwrap();
        assert_eq!(trusted.keys().collect::<Vec<_>>(), [1, 2, 3, 4].map(key));
        assert_eq!((trusted.name(key(1)), trusted.name(key(3))), (Some("nas"), None));
        let nas = trusted.named("nas").unwrap();
        assert_eq!(nas.address.as_ref().unwrap().to_string(), "10.0.0.5:7117");
        assert!(trusted.named("-").is_none() && trusted.named("x").is_none());
    }

    #[test]
    fn line_that_is_wrong_is_an_error_that_names_it() {
        let key = key(1);
        for bad in ["x", &format!("{key} .."), &format!("{key} a b"), &format!("{key} a h:1 more")]
        {
            let error = format!("# first\n{bad}").parse::<Trusted>().unwrap_err();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn name_is_of_one_key_and_a_key_has_one_line() {
        let mut trusted = Trusted::default();
        let entry =
            |of, name| Entry { key: key(of), name: Some(String::from(name)), address: None };
        trusted.add(entry(1, "a")).unwrap();
        assert!(trusted.add(entry(2, "a")).unwrap_err().contains("haul trust --remove a"));
        trusted.add(entry(1, "b")).unwrap();
        assert_eq!(trusted.to_string(), format!("{} b\n", key(1)));
        assert!(!trusted.remove("a") && trusted.remove("b") && trusted == Trusted::default());
        trusted.add(entry(1, "a")).unwrap();
        assert!(trusted.remove(&key(1).to_string()));
    }
}
