//! Names within one session: which were offered, and what stands beside one that is taken.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

use crate::types::{EntryId, Kind, Refusal, RelPath, TransferId};

/// The names that a session was offered, to find those that would be one on some system.
///
/// Of each name it keeps a hash of 64 bits under a random key, and the entry: 16 bytes, so that a million names take
/// some 34 MB. Two names that are different and have one hash would be taken for a collision; among 10 million
/// names the odds are 1 in 300,000.
#[derive(Debug, Default)]
pub(super) struct Taken {
    transfer: Option<TransferId>,
    hasher: RandomState,
    seen: HashMap<u64, Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    entry: EntryId,
    folder: bool,
}

impl Taken {
    /// Begins another transfer, whose names are not held against those of the one before.
    pub(super) fn serve(&mut self, transfer: TransferId) {
        if self.transfer != Some(transfer) {
            *self = Self { transfer: Some(transfer), ..Self::default() };
        }
    }

    /// Notes that `entry` has a name, which is given with everything folded that some system takes for the same.
    ///
    /// The same entry may claim its name again: it is offered again after a lost connection.
    pub(super) fn claim(
        &mut self,
        folded: &[u8],
        entry: EntryId,
        kind: &Kind,
    ) -> Result<(), Refusal> {
        let folder = matches!(kind, Kind::Directory);
        let mut hasher = self.hasher.build_hasher();
        let mut own = 0;
        for (depth, part) in folded.split(|&byte| byte == b'/').enumerate() {
            if depth > 0 {
                if self.seen.get(&own).is_some_and(|above| !above.folder) {
                    return Err(Refusal::KindClash);
                }
                hasher.write_u8(b'/');
            }
            hasher.write(part);
            own = hasher.finish();
        }
        match self.seen.entry(own) {
            Entry::Vacant(free) => {
                free.insert(Claim { entry, folder });
                Ok(())
            }
            Entry::Occupied(taken) if taken.get().entry == entry => Ok(()),
            Entry::Occupied(taken) if taken.get().folder != folder => Err(Refusal::KindClash),
            Entry::Occupied(_) => Err(Refusal::Collision),
        }
    }

    /// Returns whether an entry other than this one has the name.
    pub(super) fn is_another(&self, folded: &[u8], entry: EntryId) -> bool {
        let mut hasher = self.hasher.build_hasher();
        for (depth, part) in folded.split(|&byte| byte == b'/').enumerate() {
            if depth > 0 {
                hasher.write_u8(b'/');
            }
            hasher.write(part);
        }
        self.seen.get(&hasher.finish()).is_some_and(|claim| claim.entry != entry)
    }
}

/// Returns the n-th name beside one: `photo (1).jpg`. Where that would be too long, the stem is
/// cut.
pub(super) fn beside(path: &RelPath, n: u32) -> Result<RelPath, Refusal> {
    let name = path.file_name();
    let count = format!(" ({n})");
    let (stem, extension) = match name.iter().rposition(|&byte| byte == b'.') {
        // A dot at the start hides the file; it does not begin an extension.
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, &[][..]),
    };
    let (stem, extension) = if extension.len() + count.len() < RelPath::MAX_PART_BYTES {
        (stem, extension)
    } else {
        (name, &[][..])
    };
    let room = RelPath::MAX_PART_BYTES - count.len() - extension.len();
    let mut beside = cut(stem, room).to_vec();
    beside.extend_from_slice(count.as_bytes());
    beside.extend_from_slice(extension);
    path.with_file_name(&beside).map_err(|_| Refusal::Name)
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

/// Returns a name with its case folded in full, so that `ß` is as `ss`, as far as it is UTF-8.
///
/// Lower case alone does not bring together all that some system takes for one letter; that of the upper case does. The
/// dotless `ı` is left out: its upper case is `I`, but no file system takes it for `i`.
pub(super) fn fold_case(name: &[u8]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn beside_names_are_numbered_before_the_extension() {
        for (name, expected) in [
            ("photo.jpg", "photo (1).jpg"),
            ("a/b/photo.jpg", "a/b/photo (1).jpg"),
            ("photo", "photo (1)"),
            (".bashrc", ".bashrc (1)"),
            (".a.b", ".a (1).b"),
            ("a.tar.gz", "a.tar (1).gz"),
            ("photo (1).jpg", "photo (1) (1).jpg"),
        ] {
            assert_eq!(beside(&path(name), 1).unwrap(), path(expected), "{name}");
        }
        assert_eq!(beside(&path("a.b"), u32::MAX).unwrap(), path("a (4294967295).b"));
    }

    #[test]
    fn beside_long_names_are_cut_between_characters() {
        for letter in ["x", "é", "€", "😀"] {
            for extension in ["", ".jpg", &format!(".{}", "y".repeat(120))] {
                for stem in 40..=255 - extension.len() {
                    let mut name = letter.repeat(stem / letter.len());
                    name.push_str(&"z".repeat(stem % letter.len()));
                    name.push_str(extension);
                    for n in [1, 10, 4_294_967_295] {
                        let beside = beside(&path(&name), n).unwrap();
                        let text = str::from_utf8(beside.as_bytes()).unwrap();
                        assert!(text.len() <= 255 && text.ends_with(&format!(" ({n}){extension}")));
                        let kept = text.len() - extension.len() - format!(" ({n})").len();
                        assert!(name.as_bytes().starts_with(&text.as_bytes()[..kept]));
                        assert!(kept == stem || text.len() > 255 - letter.len());
                    }
                }
            }
        }
        let dotted = format!("a.{}", "b".repeat(253));
        assert_eq!(beside(&path(&dotted), 1).unwrap().as_bytes().len(), 255);
        let bytes = [0x80; 255];
        let odd = beside(&RelPath::parse(&bytes).unwrap(), 7).unwrap();
        assert_eq!(odd.as_bytes(), [&bytes[..251], b" (7)"].concat());
    }

    #[test]
    fn claim_of_every_pair_of_names_is_as_the_table_says() {
        let file = Kind::File;
        let folder = Kind::Directory;
        let link = Kind::Symlink((*b"x").into());
        let table = [
            ("a", &file, "b", &file, Ok(())),
            ("a", &file, "a", &file, Err(Refusal::Collision)),
            ("a", &file, "a/b", &file, Err(Refusal::KindClash)),
            ("a", &file, "a/b/c", &folder, Err(Refusal::KindClash)),
            ("a/b", &file, "a/b/c", &file, Err(Refusal::KindClash)),
            ("a/b", &file, "a/bc", &file, Ok(())),
            ("a", &folder, "a/b", &file, Ok(())),
            ("a/b", &file, "a", &folder, Ok(())),
            ("a", &folder, "a", &folder, Err(Refusal::Collision)),
            ("a", &folder, "a", &file, Err(Refusal::KindClash)),
            ("a", &file, "a", &folder, Err(Refusal::KindClash)),
            ("a", &link, "a/b", &file, Err(Refusal::KindClash)),
            ("a", &link, "a", &file, Err(Refusal::Collision)),
        ];
        for (first, kind, second, other, expected) in table {
            let mut taken = Taken::default();
            assert_eq!(taken.claim(first.as_bytes(), EntryId::new(0), kind), Ok(()));
            assert_eq!(taken.claim(first.as_bytes(), EntryId::new(0), kind), Ok(()), "again");
            let found = taken.claim(second.as_bytes(), EntryId::new(1), other);
            assert_eq!(found, expected, "{first} {second}");
            assert!(!taken.is_another(first.as_bytes(), EntryId::new(0)));
            assert!(taken.is_another(first.as_bytes(), EntryId::new(9)));
        }
    }

    #[test]
    fn fold_case_keeps_what_is_not_text_and_folds_in_full() {
        assert_eq!(fold_case(b"A\xffB\xfe"), b"a\xffb\xfe");
        for (one, other) in [
            ("ÄÖ/ẞ", "äö/ss"),
            ("Straße", "STRASSE"),
            ("ﬁle", "FILE"),
            ("ς", "Σ"),
            ("ŉ", "ʼN"),
            ("\u{212a}", "k"),
            ("ſ", "S"),
            ("µ", "μ"),
        ] {
            assert_eq!(fold_case(one.as_bytes()), fold_case(other.as_bytes()), "{one} {other}");
        }
        assert_ne!(fold_case("ı".as_bytes()), fold_case(b"i"));
        // Whatever the letter, its cases are one, and folding again changes nothing.
        for c in ('\0'..=char::MAX).filter(|c| *c != 'ı') {
            let folded = fold_case(c.to_string().as_bytes());
            assert_eq!(fold_case(&folded), folded, "{c:?}");
            assert_eq!(fold_case(c.to_uppercase().to_string().as_bytes()), folded, "{c:?}");
            assert_eq!(fold_case(c.to_lowercase().to_string().as_bytes()), folded, "{c:?}");
        }
    }
}
