//! The label that `dspex_worker/output.py` puts before a line: `GS program US request GS`, with the
//! control characters of those names, which no printed text begins with by chance.

use std::borrow::Cow;

const GROUP: u8 = 0x1d;
const UNIT: u8 = 0x1f;

/// A program's key and a request's id.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The label, where there is one, and the text behind it.
pub(super) fn split(line: &[u8]) -> (Option<Label<'_>>, &[u8]) {
    let labelled = || {
        let rest = line.strip_prefix(&[GROUP])?;
        let unit = rest.iter().position(|&byte| byte == UNIT)?;
        let (program, rest) = (&rest[..unit], &rest[unit + 1..]);
        let end = rest.iter().position(|&byte| byte == GROUP)?;
        let request = &rest[..end];
        let label = (
            String::from_utf8_lossy(program),
            String::from_utf8_lossy(request),
        );
        Some((label, &rest[end + 1..]))
    };
    match labelled() {
        Some((label, text)) => (Some(label), text),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_taken_off() {
        let (label, text) = split(b"\x1decho@1\x1fr-7\x1dhello \x1d there");
        assert_eq!(label, Some(("echo@1".into(), "r-7".into())));
        assert_eq!(text, b"hello \x1d there");
    }

    #[test]
    fn what_is_no_label_is_text() {
        for line in [
            &b"hello"[..],
            b"",
            b"\x1d",
            b"\x1da\x1fb",
            b"\x1da b\x1d",
            b" \x1da\x1fb\x1d",
        ] {
            assert_eq!(split(line), (None, line));
        }
    }
}
