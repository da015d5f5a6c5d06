//! How text looks: tones, tables, and what is left of text that came from elsewhere.
//!
//! Invariants: colour only where a terminal reads, or where it was asked for. Text from a server
//! reaches a terminal without control characters: a program's error message must not move the
//! reader's cursor.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

/// What a piece of text means to its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing special.
    Plain,
    /// Well.
    Good,
    /// Worth a look.
    Warn,
    /// Not well.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}

/// Puts tones on text, or leaves it plain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Without colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { on: false };

    /// With colours, or without.
    pub(crate) fn new(on: bool) -> Self {
        Self { on }
    }

    /// The text in a tone, without control characters.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        let text = printable(text);
        let code = match tone {
            Tone::Plain => return text,
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text
        }
    }

    /// A table without lines: a heading, then rows of text with a tone each.
    pub(crate) fn table<const N: usize>(
        self,
        heading: [&str; N],
        rows: impl IntoIterator<Item = [(String, Tone); N]>,
    ) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if self.on {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(heading.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for row in rows {
            table.add_row(row.map(|(text, tone)| {
                let cell = Cell::new(printable(&text));
                match tone {
                    Tone::Plain => cell,
                    Tone::Good => cell.fg(Color::Green),
                    Tone::Warn => cell.fg(Color::Yellow),
                    Tone::Bad => cell.fg(Color::Red),
                    Tone::Dim => cell.add_attribute(Attribute::Dim),
                    Tone::Strong => cell.add_attribute(Attribute::Bold),
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

/// The text with control characters shown instead of obeyed; line ends stay.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A plain cell of a table.
pub(crate) fn plain(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

/// A cell that stands behind the others.
pub(crate) fn dim(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_table_is_columns_and_nothing_else() {
        let table = Paint::new(false).table(
            ["NAME", "STATE"],
            [
                [plain("qa"), ("ready".to_owned(), Tone::Good)],
                [plain("longer-name"), dim("\x1b[2Jgone")],
            ],
        );
        assert_eq!(
            table,
            "NAME         STATE\nqa           ready\nlonger-name  \u{fffd}[2Jgone"
        );
    }

    #[test]
    fn colour_is_there_only_when_asked_for() {
        assert_eq!(Paint::new(false).text(Tone::Bad, "no"), "no");
        assert_eq!(Paint::new(true).text(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        let table = Paint::new(true).table(["A"], [[("x".to_owned(), Tone::Bad)]]);
        assert!(table.contains("\x1b["), "{table:?}");
    }
}
