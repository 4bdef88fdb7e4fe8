//! Names and texts of others, as they may be shown: nothing in them is obeyed by a terminal, or turns what stands around
//! it.

use std::fmt;

/// A name or text of a peer or of the file system, for people to read.
///
/// It is shown with every [unsafe](is_unsafe) character, and every backslash, escaped as in Rust, and with bytes that are
/// not UTF-8 as `\xff`.
///
/// ```
/// use haul::escape::Escaped;
///
/// assert_eq!(Escaped(b"a\x1b[31m\xff").to_string(), r"a\u{1b}[31m\xff");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is its bytes, and nothing else")]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Returns whether a character may not reach a terminal or a log as it is: control characters (C0, DEL, C1), and marks that
/// cannot be seen, or change the direction or the line of the text around them.
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

#[cfg(test)]
mod tests {
    use super::*;

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
