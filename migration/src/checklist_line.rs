//! The name of one line of a checklist, which a person signs.
//!
//! Invariant: a name is 1 to 64 characters of `a-z`, `0-9` and `-`. Which lines there are is the
//! checklist's business: the journal keeps who has signed what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How long a name may be.
const LONGEST: usize = 64;

/// Names one line of a checklist, such as `cost`. In place, so that a command stays a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChecklistLine {
    /// The name, then NULs, which no name has.
    bytes: [u8; LONGEST],
}

/// What is no name of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z, 0-9 and -, such as cost")]
pub struct InvalidLine;

impl ChecklistLine {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let name = &self.bytes[..end.unwrap_or(LONGEST)];
        // Each byte was looked at: it is ASCII.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

impl FromStr for ChecklistLine {
    type Err = InvalidLine;

    fn from_str(text: &str) -> Result<Self, InvalidLine> {
        let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(named) {
            return Err(InvalidLine);
        }
        let mut bytes = [0; LONGEST];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes })
    }
}

impl TryFrom<String> for ChecklistLine {
    type Error = InvalidLine;

    fn try_from(text: String) -> Result<Self, InvalidLine> {
        text.parse()
    }
}

impl From<ChecklistLine> for String {
    fn from(line: ChecklistLine) -> Self {
        line.as_str().to_owned()
    }
}

impl fmt::Display for ChecklistLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ChecklistLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    #[test]
    fn a_name_is_kept_as_it_was_written_and_nothing_else_is_one() {
        let longest = "x".repeat(LONGEST);
        for name in ["cost", "peak-load", "25", longest.as_str()] {
            let line: ChecklistLine = name.parse().expect("a name");
            assert_eq!(line.as_str(), name);
            let json = serde_json::to_value(Command::Sign { line }).expect("JSON");
            assert_eq!(json, serde_json::json!({"sign": {"line": name}}));
            let back: Command = serde_json::from_value(json).expect("read");
            assert_eq!(back, Command::Sign { line });
        }
        let longer = "x".repeat(LONGEST + 1);
        for text in ["", "Cost", "co st", "käse", "a\0", "a_b", longer.as_str()] {
            assert_eq!(text.parse::<ChecklistLine>(), Err(InvalidLine), "{text}");
            let json = serde_json::json!({"sign": {"line": text}});
            assert!(serde_json::from_value::<Command>(json).is_err(), "{text}");
        }
    }
}
