//! Names that a user does not see, and what is read from them unasked.

use crate::types::{Refusal, RelPath, is_ignorable};

/// Policy of an [`FsStore`](super::FsStore) for names that begin with a dot.
///
/// It is the first part of a name that counts: `.ssh/authorized_keys` is hidden, `notes/.gitignore` is not. `SSH~1` is, where
/// the file system has given that name to `.ssh` beside its own, as FAT and NTFS do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HiddenNames {
    /// Refuses them with [`Refusal::HiddenName`]. The default: in a home folder, programs obey files under such names
    /// (`.profile`, `.ssh/authorized_keys`), and nobody sees them come.
    #[default]
    Refuse,
    /// Takes them as any other name.
    Accept,
}

impl HiddenNames {
    /// Checks that an entry may have this name.
    pub(super) fn check(self, path: &RelPath) -> Result<(), Refusal> {
        match self {
            Self::Refuse if is_hidden(path.as_bytes()) => Err(Refusal::HiddenName),
            Self::Refuse | Self::Accept => Ok(()),
        }
    }
}

/// Returns whether a name begins with a dot, also where characters stand before it that some file systems leave out.
fn is_hidden(name: &[u8]) -> bool {
    let text = name.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.trim_start_matches(is_ignorable).starts_with('.')
}

/// Returns the first part of a name, if a file system may have given it to a file beside a longer name (8.3): up to eight
/// bytes that end in `~` and a number, and up to three after a dot.
pub(super) fn short_name(path: &RelPath) -> Option<&[u8]> {
    let first = path.parts().next()?;
    let (stem, extension) = match first.iter().position(|&byte| byte == b'.') {
        Some(dot) => first.split_at(dot),
        None => (first, &[][..]),
    };
    let digits = stem.rsplit(|&byte| byte == b'~').next()?;
    let is_numbered = !digits.is_empty() && digits.len() + 1 < stem.len();
    let is_short = stem.len() <= 8 && extension.len() <= 4;
    (is_short && is_numbered && digits.iter().all(u8::is_ascii_digit)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_is_what_begins_with_a_dot_in_its_first_part() {
        for (name, hidden) in [
            (".ssh/authorized_keys", true),
            (".profile", true),
            ("...", true),
            ("\u{200c}.ssh/config", true),
            ("\u{feff}\u{202e}.ssh", true),
            ("\u{ad}.ssh/authorized_keys", true),
            ("\u{fe0f}\u{34f}.profile", true),
            ("notes/.gitignore", false),
            ("a.b", false),
            ("\u{200c}a", false),
        ] {
            let Ok(path) = RelPath::parse(name.as_bytes()) else { continue };
            let expected = if hidden { Err(Refusal::HiddenName) } else { Ok(()) };
            assert_eq!(HiddenNames::Refuse.check(&path), expected, "{name:?}");
            assert_eq!(HiddenNames::Accept.check(&path), Ok(()), "{name:?}");
            assert_eq!(is_hidden(name.as_bytes()), hidden, "{name:?}");
        }
    }

    #[test]
    fn short_name_is_what_dos_made_of_a_long_one() {
        for (name, is_short) in [
            ("SSH~1", true),
            ("ssh~1/authorized_keys", true),
            ("PROFIL~1", true),
            ("A~12.TXT", true),
            ("SSH2~1.CON/x", true),
            ("SSH", false),
            ("~1", false),
            ("SSH~", false),
            ("SSH~x", false),
            ("PROFILE~1", false),
            ("SSH~1.CONF", false),
            ("notes/SSH~1", false),
        ] {
            let path = RelPath::parse(name.as_bytes()).unwrap();
            let first = path.parts().next().filter(|_| is_short);
            assert_eq!(short_name(&path), first, "{name}");
        }
    }

    #[test]
    fn hidden_is_a_dot_behind_any_character_that_is_left_out() {
        for c in ('\0'..=char::MAX).filter(|c| is_ignorable(*c)) {
            assert!(is_hidden(format!("{c}.ssh").as_bytes()), "{c:?}");
            assert!(!is_hidden(format!("{c}ssh").as_bytes()), "{c:?}");
        }
    }
}
