//! What is asked for, by whom and why; and what is kept of it.
//!
//! Invariant: no flag changes without a who and a why.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{FlagError, shown};
use crate::revision::Revision;
use crate::value::FlagValue;

/// The longest who or why that is kept, in bytes.
const LONGEST_TEXT: usize = 4_096;

/// A change of flags that is asked for: all of it happens, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The revision that the writer has seen: if the store has another, the write is refused with
    /// [`FlagError::Conflict`]. `None` writes over whatever is newest.
    pub expected: Option<Revision>,
    /// The flags to set, each once.
    pub set: Vec<(String, FlagValue)>,
    /// Who changes them.
    pub who: String,
    /// Why they change them.
    pub why: String,
}

impl Write {
    /// Whether this write has everything a write must have. Every store asks this first.
    ///
    /// # Errors
    ///
    /// [`FlagError::BadWrite`] for an empty set, a key named twice, and a who or why that is empty
    /// or longer than 4,096 bytes.
    pub fn check(&self) -> Result<(), FlagError> {
        let refuse = |problem: String| Err(FlagError::BadWrite { problem });
        if self.set.is_empty() {
            return refuse("it sets no flag".to_owned());
        }
        for (name, text, say) in [
            ("who", &self.who, "who you are"),
            ("why", &self.why, "why you change the flags"),
        ] {
            if text.trim().is_empty() {
                return refuse(format!("`{name}` is empty; say {say}"));
            }
            // Not every database can keep it.
            if text.contains('\0') {
                return refuse(format!("`{name}` has a NUL character in it; leave it out"));
            }
            if text.len() > LONGEST_TEXT {
                return refuse(format!("`{name}` is longer than {LONGEST_TEXT} bytes"));
            }
        }
        if let Some((key, _)) = self.set.iter().find(|(key, _)| key.contains('\0')) {
            return refuse(format!(
                "the key `{}` has a NUL character in it",
                shown(key)
            ));
        }
        let mut seen = HashSet::new();
        match self.set.iter().find(|(key, _)| !seen.insert(key)) {
            Some((key, _)) => refuse(format!("it sets `{}` twice", shown(key))),
            None => Ok(()),
        }
    }

    /// Whether a store at revision `actual` may accept this write.
    pub(crate) fn check_expected(&self, actual: Revision) -> Result<(), FlagError> {
        match self.expected {
            Some(expected) if expected != actual => Err(FlagError::Conflict { expected, actual }),
            _ => Ok(()),
        }
    }
}

/// One flag's change, as the audit keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The revision that it made, together with the other changes of the same write.
    pub revision: Revision,
    /// The flag.
    pub key: String,
    /// The value it had in the store; `None` where the compiled default stood, or where what was
    /// stored could not be read.
    pub before: Option<FlagValue>,
    /// The value it has since.
    pub after: FlagValue,
    /// Who changed it.
    pub who: String,
    /// Why they changed it.
    pub why: String,
    /// When, by the clock of the process that wrote.
    pub at: Timestamp,
    /// The rollout hash that the value was written for.
    pub hash_version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write() -> Write {
        Write {
            expected: None,
            set: vec![("one".to_owned(), FlagValue::Bool(true))],
            who: "ada".to_owned(),
            why: "try it".to_owned(),
        }
    }

    fn refusal(write: &Write) -> String {
        write.check().unwrap_err().to_string()
    }

    #[test]
    fn a_write_needs_a_flag_a_who_and_a_why() {
        assert!(write().check().is_ok());
        assert_eq!(
            refusal(&Write {
                set: vec![],
                ..write()
            }),
            "this change of flags is refused: it sets no flag"
        );
        assert_eq!(
            refusal(&Write {
                who: " ".to_owned(),
                ..write()
            }),
            "this change of flags is refused: `who` is empty; say who you are"
        );
        assert_eq!(
            refusal(&Write {
                why: String::new(),
                ..write()
            }),
            "this change of flags is refused: `why` is empty; say why you change the flags"
        );
        assert_eq!(
            refusal(&Write {
                why: "x".repeat(4_097),
                ..write()
            }),
            "this change of flags is refused: `why` is longer than 4096 bytes"
        );
        assert_eq!(
            refusal(&Write {
                why: "a\0b".to_owned(),
                ..write()
            }),
            "this change of flags is refused: `why` has a NUL character in it; leave it out"
        );
        let twice = [write().set, write().set].concat();
        assert_eq!(
            refusal(&Write {
                set: twice,
                ..write()
            }),
            "this change of flags is refused: it sets `one` twice"
        );
    }
}
