//! Names of entries, parsed once into a type that cannot hold a dangerous one.

use std::fmt;
use std::sync::Arc;

use super::escape::escape;

/// The place of an entry below the folder that is sent or received: one or more parts, joined by `/`.
///
/// A value of this type names something inside its folder on every platform. It is not absolute, has no
/// part that is empty, `.` or `..`, no NUL, no `\` and no `:`, no part that Windows reserves (`CON`,
/// `com1.txt` …) or that ends in a dot or a space, and no part of the form that haul keeps for its own
/// partial files, in whatever case, nor one that could be the short name (8.3) of such a file, as `HAUL-0~1.PAR`.
/// It need not be UTF-8: names are bytes, as they are on Unix.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Arc<[u8]>);

/// Reason why a name was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name, or a part of it between slashes, has no bytes; absolute names begin with such a part.
    #[error("a part of the name is empty")]
    Empty,
    /// A part is `.` or `..`.
    #[error("a part of the name is a dot or two dots")]
    Dots,
    /// A byte that some system takes for a separator, a stream, or an end: NUL, `\` or `:`.
    #[error("the name holds byte {byte:#04x}, which is not portable")]
    Byte {
        /// The byte.
        byte: u8,
    },
    /// A part ends in a dot or a space, which Windows drops.
    #[error("a part of the name ends in a dot or a space")]
    Trailing,
    /// A part is a device to Windows, as `CON` or `com1.txt`.
    #[error("a part of the name is a device on some systems")]
    Device,
    /// A part has the form of haul's own partial files.
    #[error("a part of the name is of the form kept for partial files")]
    Reserved,
    /// The name is longer than [`RelPath::MAX_BYTES`], or a part longer than [`RelPath::MAX_PART_BYTES`].
    #[error("the name is {bytes} bytes long, of {limit} at most")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// The name has more than [`RelPath::MAX_PARTS`] parts.
    #[error("the name is more than {limit} folders deep")]
    TooDeep {
        /// The most that is accepted.
        limit: usize,
    },
}

impl RelPath {
    /// The longest name, in bytes: `PATH_MAX` of Linux, less its final NUL.
    pub const MAX_BYTES: usize = 4095;
    /// The longest part, in bytes: `NAME_MAX` of Linux and of most file systems.
    pub const MAX_PART_BYTES: usize = 255;
    /// The most parts that a name may have.
    pub const MAX_PARTS: usize = 128;
    /// Beginning of the names of haul's own partial files.
    pub const PARTIAL_PREFIX: &'static str = ".haul-";
    /// End of the names of haul's own partial files.
    pub const PARTIAL_SUFFIX: &'static str = ".part";

    /// Parses a name as it stands on the wire.
    ///
    /// # Errors
    ///
    /// One variant of [`NameError`] for each rule; nothing else can be wrong with a name.
    pub fn parse(name: &[u8]) -> Result<Self, NameError> {
        if name.len() > Self::MAX_BYTES {
            return Err(NameError::TooLong { bytes: name.len(), limit: Self::MAX_BYTES });
        }
        if let Some(&byte) = name.iter().find(|byte| matches!(byte, 0 | b'\\' | b':')) {
            return Err(NameError::Byte { byte });
        }
        for (depth, part) in name.split(|&byte| byte == b'/').enumerate() {
            if depth >= Self::MAX_PARTS {
                return Err(NameError::TooDeep { limit: Self::MAX_PARTS });
            }
            check_part(part)?;
        }
        Ok(Self(name.into()))
    }

    /// Returns the name as it stands on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the parts, from the outermost folder to the entry itself.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/')
    }

    /// Returns the last part.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        self.parts().next_back().unwrap_or_default()
    }

    /// Returns the name of the folder that the entry stands in; `None` if it stands in the
    /// outermost one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|&byte| byte == b'/')?;
        self.0.get(..cut).map(|parent| Self(parent.into()))
    }

    /// Returns this name with another last part.
    ///
    /// # Errors
    ///
    /// As [`RelPath::parse`].
    pub fn with_file_name(&self, name: &[u8]) -> Result<Self, NameError> {
        let mut bytes = self.parent().map_or_else(Vec::new, |parent| {
            let mut bytes = parent.0.to_vec();
            bytes.push(b'/');
            bytes
        });
        bytes.extend_from_slice(name);
        Self::parse(&bytes)
    }

    /// Returns the n-th name beside this one: `photo (1).jpg`. Where that would be too long, the stem is cut, between two
    /// characters.
    ///
    /// # Errors
    ///
    /// As [`RelPath::parse`]: the last part may be short enough, and the name too long.
    pub fn beside(&self, n: u32) -> Result<Self, NameError> {
        let name = self.file_name();
        let count = format!(" ({n})");
        let (stem, extension) = match name.iter().rposition(|&byte| byte == b'.') {
            // A dot at the start hides the file; it does not begin an extension.
            Some(dot) if dot > 0 => name.split_at(dot),
            _ => (name, &[][..]),
        };
        let (stem, extension) = if extension.len() + count.len() < Self::MAX_PART_BYTES {
            (stem, extension)
        } else {
            (name, &[][..])
        };
        let room = Self::MAX_PART_BYTES - count.len() - extension.len();
        let mut beside = cut(stem, room).to_vec();
        beside.extend_from_slice(count.as_bytes());
        beside.extend_from_slice(extension);
        self.with_file_name(&beside)
    }

    /// Returns this name with its case folded in full, so that `ß` is as `ss`, as far as it is UTF-8: two names that are
    /// equal then are one to a file system that folds case. A store that knows no case need not compare
    /// them; what a system does with composed letters beside that is its own.
    ///
    /// Lower case alone does not bring together all that some system takes for one letter; that of the upper case does. The
    /// dotless `ı` is left out: its upper case is `I`, but no file system takes it for `i`.
    #[must_use]
    pub fn fold_case(&self) -> Vec<u8> {
        fold_case(&self.0)
    }
}

/// Returns the first `most` bytes, or a few less so that no character is cut in two.
fn cut(bytes: &[u8], most: usize) -> &[u8] {
    let Some(head) = bytes.get(..most) else { return bytes };
    let is_inner = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
    if !bytes.get(most).is_some_and(is_inner) {
        return head;
    }
    // A character has at most three inner bytes; more are not UTF-8, and then any cut is as good.
    match head.iter().rev().take(4).position(|byte| !is_inner(byte)) {
        Some(inner) => head.get(..head.len() - inner - 1).unwrap_or(head),
        None => head,
    }
}

/// As [`RelPath::fold_case`].
pub(crate) fn fold_case(name: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let lower = chunk.valid().chars().flat_map(char::to_lowercase);
        let upper = |c: char| {
            if c == 'ı' { [c].into_iter().collect() } else { c.to_uppercase().collect::<String>() }
        };
        let folds: String = lower.map(upper).collect();
        let lower: String = folds.chars().flat_map(char::to_lowercase).collect();
        folded.extend_from_slice(lower.as_bytes());
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

fn check_part(part: &[u8]) -> Result<(), NameError> {
    match part {
        [] => return Err(NameError::Empty),
        b"." | b".." => return Err(NameError::Dots),
        [.., b'.' | b' '] => return Err(NameError::Trailing),
        _ => {}
    }
    if part.len() > RelPath::MAX_PART_BYTES {
        return Err(NameError::TooLong { bytes: part.len(), limit: RelPath::MAX_PART_BYTES });
    }
    if is_reserved(part) || is_short_name_of_reserved(part) {
        return Err(NameError::Reserved);
    }
    if is_device(part) { Err(NameError::Device) } else { Ok(()) }
}

/// Returns whether some file system takes this part for the name of a partial file: one that folds case, or that
/// ignores characters which cannot be seen. Nothing but ASCII is folded to the letters of that form, save by
/// compatibility forms, which the store has to know.
fn is_reserved(part: &[u8]) -> bool {
    if part.first().is_some_and(|&first| first != b'.' && first.is_ascii()) {
        return false;
    }
    let mut seen = Vec::with_capacity(part.len());
    for chunk in part.utf8_chunks() {
        for c in chunk.valid().chars().filter(|c| !is_ignorable(*c)) {
            seen.extend_from_slice(c.to_ascii_lowercase().encode_utf8(&mut [0; 4]).as_bytes());
        }
        seen.extend_from_slice(chunk.invalid());
    }
    seen.starts_with(RelPath::PARTIAL_PREFIX.as_bytes())
        && seen.ends_with(RelPath::PARTIAL_SUFFIX.as_bytes())
}

/// Returns whether this may be the short name that FAT or NTFS gives to a partial file beside its own: up to six
/// letters of that, or two and four digits of a hash; `~` and a number; and three letters of the extension.
fn is_short_name_of_reserved(part: &[u8]) -> bool {
    let name = part.to_ascii_lowercase();
    let Some(stem) = name.strip_suffix(b".par") else { return false };
    let Some(tilde) = stem.iter().rposition(|&byte| byte == b'~') else { return false };
    let is_number = stem.iter().skip(tilde).skip(1).all(u8::is_ascii_digit);
    stem.len() <= 8 && is_number && !stem.ends_with(b"~") && stem.starts_with(b"ha")
}

/// Returns whether file systems leave a character out where they compare names without case: those that Unicode calls
/// "default ignorable".
pub(crate) const fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Returns whether Windows takes this part for a device, whatever its extension: see "Naming Files,
/// Paths, and Namespaces" in the Win32 documentation, which also names the superscript digits.
fn is_device(part: &[u8]) -> bool {
    let stem = part.split(|&byte| byte == b'.').next().unwrap_or_default().trim_ascii_end();
    let stem = stem.to_ascii_lowercase();
    if let Some(unit) = stem.strip_prefix(b"com").or_else(|| stem.strip_prefix(b"lpt")) {
        return matches!(unit, [b'0'..=b'9'] | [0xC2, 0xB9 | 0xB2 | 0xB3]);
    }
    matches!(&*stem, b"con" | b"prn" | b"aux" | b"nul" | b"conin$" | b"conout$")
}

/// The name with everything escaped that could do harm where it is shown: control characters (C0 and C1),
/// characters that turn the direction of text, and bytes that are not UTF-8.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests;
