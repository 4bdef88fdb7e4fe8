//! Names and texts of others, as they may be shown: nothing in them is obeyed by a terminal, or turns what stands
//! around it.

use std::fmt;

/// A name or text of a peer or of the file system, for people to read.
///
/// It is shown with every [unsafe](is_unsafe) character, and every backslash, escaped as in Rust, and with bytes that
/// are not UTF-8 as `\xff`.
///
/// ```
/// use haul::types::Escaped;
///
/// assert_eq!(Escaped(b"a\x1b[31m\xff").to_string(), r"a\u{1b}[31m\xff");
/// ```
///
/// No two names are shown as the same text: [`unescape`] gives the name back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is its bytes, and nothing else")]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Returns whether a character may not reach a terminal or a log as it is: control characters (C0, DEL, C1), and marks
/// that cannot be seen, or change the direction or the line of the text around them.
#[must_use]
pub const fn is_unsafe(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{061c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Writes a name as [`Escaped`] shows it.
pub(crate) fn escape(name: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unsafe(c) || c == '\\' {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        chunk.invalid().iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
    }
    Ok(())
}

/// Returns the name that [`Escaped`] shows as this text; `None` if it shows no name so.
///
/// ```
/// use haul::types::unescape;
///
/// assert_eq!(unescape(r"a\u{1b}[31m\xff").as_deref(), Some(&b"a\x1b[31m\xff"[..]));
/// assert_eq!(unescape("a\u{1b}"), None);
/// ```
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        name.extend_from_slice(before.as_bytes());
        let (code, after) = match after.strip_prefix("u{") {
            Some(after) => after.split_once('}')?,
            None => after.split_at_checked(if after.starts_with('x') { 3 } else { 1 })?,
        };
        match code.strip_prefix('x') {
            Some(byte) => name.push(u8::from_str_radix(byte, 16).ok()?),
            None => {
                let c = match code {
                    "\\" => '\\',
                    "n" => '\n',
                    "r" => '\r',
                    "t" => '\t',
                    code => char::from_u32(u32::from_str_radix(code, 16).ok()?)?,
                };
                name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = after;
    }
    name.extend_from_slice(rest.as_bytes());
    // Others are written in another way: as no name, or as another one.
    let mut shown = String::new();
    (escape(&name, &mut shown).is_ok() && shown == text).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters that are escaped, the backslash aside, and no others: by the names of Unicode.
    const ALL: [(u32, u32, &str); 11] = [
        (0x00, 0x1f, "C0"),
        (0x7f, 0x9f, "DELETE, and C1"),
        (0x61c, 0x61c, "ARABIC LETTER MARK"),
        (0x200b, 0x200f, "ZERO WIDTH SPACE, NON-JOINER, JOINER; LEFT-TO-RIGHT, RIGHT-TO-LEFT MARK"),
        (0x2028, 0x2029, "LINE, PARAGRAPH SEPARATOR"),
        (0x202a, 0x202e, "embeddings and overrides of direction, and their end"),
        (0x2060, 0x2065, "WORD JOINER, invisible operators"),
        (0x2066, 0x2069, "isolates of direction, and their end"),
        (0x206a, 0x206f, "deprecated marks of shape and digits"),
        (0xfeff, 0xfeff, "ZERO WIDTH NO-BREAK SPACE"),
        (0xfff9, 0xfffb, "interlinear annotation"),
    ];

    /// Tags: letters that cannot be seen.
    const TAGS: (u32, u32) = (0xe0000, 0xe007f);

    #[test]
    fn escaped_are_these_characters_and_no_others() {
        for c in '\0'..=char::MAX {
            let code = u32::from(c);
            let is_listed = ALL.iter().any(|(first, last, _)| (*first..=*last).contains(&code))
                || (TAGS.0..=TAGS.1).contains(&code);
            let name = c.to_string();
            let shown = Escaped(name.as_bytes()).to_string();
            assert_eq!(is_unsafe(c), is_listed, "{code:x}");
            assert_eq!(shown != name, is_listed || c == '\\', "{code:x}");
            assert!(!is_listed || shown.is_ascii() && shown.starts_with('\\'), "{code:x}");
            assert!(is_listed || !c.is_control(), "{code:x}");
            assert_eq!(unescape(&shown).as_deref(), Some(name.as_bytes()), "{code:x}");
        }
        // Half a character is no character.
        for byte in 0x80..=0xff {
            let shown = Escaped(&[b'a', byte, b'b']).to_string();
            assert_eq!(shown, format!("a\\x{byte:02x}b"));
            assert_eq!(unescape(&shown).as_deref(), Some(&[b'a', byte, b'b'][..]));
        }
    }

    #[test]
    fn unescape_takes_nothing_that_no_name_is_shown_as() {
        for text in [
            "\\",
            "\\x",
            "\\x4",
            "\\x41",
            "\\xFF",
            "\\x+f",
            "\\u{",
            "\\u{}",
            "\\u{41}",
            "\\u{d800}",
            "\\u{+1b}",
            "\\u{01b}",
            "\\q",
            "\\é",
            "\\1b",
            "\u{1b}",
            "\u{202e}",
            "\\xc3\\xa9",
        ] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_name_is_given_back(name: Vec<u8>, text in "[\\\\a-zé\u{1b}\u{202e}{}]{0,12}") {
            for name in [&name[..], text.as_bytes()] {
                let shown = Escaped(name).to_string();
                prop_assert!(!shown.contains(is_unsafe));
                let back = unescape(&shown);
                prop_assert_eq!(back.as_deref(), Some(name));
            }
            prop_assert!(unescape(&text).is_none_or(|name| Escaped(&name).to_string() == text));
        }
    }

    #[test]
    fn escaped_holds_nothing_unsafe_whatever_it_was() {
        let all: String = ('\0'..='\u{10ffff}').collect();
        let shown = Escaped(all.as_bytes()).to_string();
        assert!(!shown.contains(is_unsafe) && !shown.contains(char::is_control));
        for text in ["\u{1b}[2J", "\u{9b}31m", "a\nb", "\u{202e}gpj", "\u{2066}x\u{2069}", "\u{7f}"]
        {
            let shown = Escaped(text.as_bytes()).to_string();
            assert!(shown.contains("\\u{") || shown.contains("\\n"), "{shown}");
        }
        assert_eq!(Escaped(b"a\\\xff\xc2").to_string(), "a\\\\\\xff\\xc2");
        assert_eq!(Escaped("grün 日本".as_bytes()).to_string(), "grün 日本");
    }
}
