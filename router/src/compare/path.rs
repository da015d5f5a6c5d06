//! Places in an answer: JSON Pointers, and patterns over them.
//!
//! Invariant: a key of any content can be named. In a pointer `~0` stands for `~` and `~1` for `/`,
//! as RFC 6901 has it; in a pattern a segment that is `*` alone stands for any key or index.

use std::fmt::Write as _;

use super::rules::InvalidPattern;

/// Some places of an answer, and everything beneath them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Reads a pattern such as `/usage` or `/items/*/score`.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`] where it does not begin with `/`, or names the whole answer.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |problem| InvalidPattern {
            pattern: text.chars().take(128).collect(),
            problem,
        };
        let Some(rest) = text.strip_prefix('/') else {
            return Err(invalid("it must begin with `/`, such as `/items/*/score`"));
        };
        if rest.is_empty() {
            return Err(invalid("it names everything: nothing would be compared"));
        }
        Ok(Self(rest.split('/').map(str::to_owned).collect()))
    }

    /// Whether this place, or one above it, is meant.
    #[must_use]
    pub fn covers(&self, pointer: &str) -> bool {
        let mut segments = pointer.split('/').skip(1);
        self.0.iter().all(|wanted| {
            segments
                .next()
                .is_some_and(|segment| wanted == "*" || wanted == segment)
        })
    }
}

/// Adds a key to a pointer.
pub(super) fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for character in key.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// Adds an index of a list to a pointer.
pub(super) fn push_index(pointer: &mut String, index: usize) {
    // Writing to a string cannot fail.
    let _ = write!(pointer, "/{index}");
}

pub(super) fn without_indices(pointer: &str) -> String {
    let mut place = String::with_capacity(pointer.len());
    for segment in pointer.split('/').skip(1) {
        place.push('/');
        let index = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        place.push_str(if index { "*" } else { segment });
    }
    place
}
