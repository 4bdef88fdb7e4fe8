//! Widths and looks of text on a terminal.

use std::time::Instant;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Abilities of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Set if it shows more than ASCII.
    pub(crate) is_unicode: bool,
    /// Set if it shows colours, and its user wants them.
    pub(crate) is_coloured: bool,
    /// Begin of the command: from then on a spinner turns.
    pub(crate) start: Instant,
}

/// A colour of the terminal's own palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

impl Style {
    /// Returns the sign that something is alive.
    pub(crate) fn spinner(self, now: Instant) -> char {
        const UNICODE: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        const ASCII: [char; 4] = ['|', '/', '-', '\\'];
        let turns = now.saturating_duration_since(self.start).as_millis() / 120;
        let all: &[char] = if self.is_unicode { &UNICODE } else { &ASCII };
        let turn = usize::try_from(turns % all.len() as u128).unwrap_or(0);
        all.get(turn).copied().unwrap_or(' ')
    }

    /// Draws a bar of so many columns, in three shades: acknowledged, on its way, to come.
    pub(crate) fn bar(self, columns: usize, acknowledged: u64, done: u64, total: u64) -> String {
        let scale = |bytes: u64| {
            let columns = u128::try_from(columns).unwrap_or(0);
            let filled = u128::from(bytes.min(total)) * columns / u128::from(total.max(1));
            usize::try_from(filled).unwrap_or(0)
        };
        // Of nothing, all is there.
        let (first, second) = match total {
            0 => (columns, columns),
            _ => (scale(acknowledged), scale(done).max(scale(acknowledged))),
        };
        let [full, half, empty] =
            if self.is_unicode { ["█", "▒", "·"] } else { ["#", "=", "."] };
        let paint = |colour, text: String| self.paint(colour, &text);
        [
            paint(Colour::Green, full.repeat(first)),
            paint(Colour::Yellow, half.repeat(second - first)),
            paint(Colour::Dim, empty.repeat(columns - second)),
        ]
        .concat()
    }

    /// Paints the text in a colour, where there are colours.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.is_coloured || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Returns the start of a text that has no colours, in so many columns.
    pub(crate) fn fit(self, text: &str, columns: usize) -> String {
        if text.width() <= columns {
            return text.to_owned();
        }
        let Some(room) = columns.checked_sub(1) else { return String::new() };
        format!("{}{}", take(text.chars(), room).into_iter().collect::<String>(), self.cut())
    }

    /// Returns the end of a text that has no colours, in so many columns: where the name of a file stands in its path.
    pub(crate) fn fit_end(self, text: &str, columns: usize) -> String {
        if text.width() <= columns {
            return text.to_owned();
        }
        let Some(room) = columns.checked_sub(1) else { return String::new() };
        let end = take(text.chars().rev(), room).into_iter().rev();
        format!("{}{}", self.cut(), end.collect::<String>())
    }

    /// Returns the sign that something was cut off.
    const fn cut(self) -> char {
        if self.is_unicode { '…' } else { '~' }
    }

    /// Returns what a file that is held has before its name.
    pub(crate) const fn tick(self) -> &'static str {
        if self.is_unicode { "✓" } else { "+" }
    }
}

/// Returns how many columns a text takes, colours left out.
pub(crate) fn width(text: &str) -> usize {
    let mut columns = 0;
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        columns += rest[..start].width();
        let end = rest[start..].find('m').map_or(rest.len(), |end| start + end + 1);
        rest = &rest[end..];
    }
    columns + rest.width()
}

/// Takes as many of the characters as fit.
fn take(chars: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut left = columns;
    chars
        .take_while(|char| {
            let fits = left.checked_sub(char.width().unwrap_or(0));
            left = fits.unwrap_or(0);
            fits.is_some()
        })
        .collect()
}
