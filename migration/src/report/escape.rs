//! Text from elsewhere made harmless: names, reasons and errors are whatever somebody typed.
//!
//! Invariant: nothing that goes through here can begin markup, end a table's cell, become a link, move
//! a reader's cursor or turn the direction of the text around it.

/// For HTML, between tags and in quoted attributes.
pub(super) fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars().map(shown) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For Markdown, in a sentence or in a table's cell: one line, no markup, no link.
pub(super) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().map(shown).peekable();
    let mut first = true;
    while let Some(c) = rest.next() {
        let escape = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '#' | '$' | '!' => {
                true
            }
            // A mention or an address, but not the version of a pool.
            '@' => {
                let mut after = rest.clone().skip_while(char::is_ascii_digit);
                let ends = after
                    .next()
                    .is_none_or(|next| !next.is_alphanumeric() && !".-_@".contains(next));
                let number = rest.peek().is_some_and(char::is_ascii_digit) && ends;
                !(number && escaped.ends_with(char::is_alphanumeric))
            }
            // At the beginning of a line these make lists, headings and rules.
            '-' | '+' | '=' => first,
            // Some renderings make a link of every address.
            ':' => rest.peek() == Some(&'/'),
            '.' => {
                let item = rest.peek().is_none_or(|next| *next == ' ');
                let number =
                    item && !escaped.is_empty() && escaped.chars().all(|c| c.is_ascii_digit());
                let host = escaped.to_ascii_lowercase().ends_with("www");
                number || host
            }
            ')' => !escaped.is_empty() && escaped.chars().all(|c| c.is_ascii_digit()),
            _ => false,
        };
        if escape {
            escaped.push('\\');
        }
        escaped.push(c);
        first = false;
    }
    escaped
}

/// White space for what breaks lines, a mark for what a reader cannot see and a machine obeys.
fn shown(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        // Marks that turn the direction of the text around them.
        '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{061c}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_markup_begins_in_html() {
        assert_eq!(
            html("<script>alert('1')</script>&amp;\"\u{1b}[2J\u{202e}\n"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;&quot;\u{fffd}[2J\u{fffd} "
        );
    }

    #[test]
    fn no_markup_begins_in_markdown() {
        for (text, safe) in [
            ("a | b", "a \\| b"),
            ("one\n# two", "one \\# two"),
            ("![x](http://evil)", "\\!\\[x\\](http\\://evil)"),
            ("<b>", "\\<b\\>"),
            ("- item", "\\- item"),
            ("1. item", "1\\. item"),
            ("2) item", "2\\) item"),
            ("WWW.evil.example", "WWW\\.evil.example"),
            ("p99 of 1.5 ms", "p99 of 1.5 ms"),
            ("27.5 %", "27.5 %"),
            ("v1@1 to v2@12", "v1@1 to v2@12"),
            ("ask @1 or ada@1.example", "ask \\@1 or ada\\@1.example"),
            ("`rm -rf`", "\\`rm -rf\\`"),
            ("\u{7}", "\u{fffd}"),
        ] {
            assert_eq!(markdown(text), safe, "{text:?}");
        }
    }
}
