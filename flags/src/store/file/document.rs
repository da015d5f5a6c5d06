//! What stands in the file of a [`super::FileStore`].
//!
//! Invariants: a value stands beside its kind, because a bare `5` is a number or a share; what is set is
//! what the changes say, so that an edit by hand is told and not taken.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audit::{Change, Write};
use crate::error::{FlagError, shown};
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;
use crate::store::{Stored, StoredValue};
use crate::value::{FlagValue, Kind};

/// The form of the file that this program writes.
const FORMAT: i64 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: i64,
    pub(super) revision: Revision,
    flags: BTreeMap<String, Setting>,
    /// The oldest first.
    changes: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    kind: String,
    value: serde_json::Value,
    revision: Revision,
    hash_version: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    revision: Revision,
    key: String,
    before: Option<Kept>,
    after: Kept,
    who: String,
    why: String,
    at: Timestamp,
    hash_version: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    kind: String,
    value: serde_json::Value,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            format: FORMAT,
            revision: Revision::ZERO,
            flags: BTreeMap::new(),
            changes: Vec::new(),
        }
    }
}

impl Document {
    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Self, FlagError> {
        #[derive(Deserialize)]
        struct Format {
            format: i64,
        }
        let broken = |error: serde_json::Error| FlagError::BrokenFile {
            path: path.display().to_string(),
            text: shown(&String::from_utf8_lossy(text)),
            problem: error.to_string(),
        };
        // A newer form may have anything beside its number.
        let Format { format } = serde_json::from_slice(text).map_err(broken)?;
        if format > FORMAT {
            return Err(FlagError::SchemaTooNew {
                found: format,
                known: FORMAT,
            });
        }
        let document: Self = serde_json::from_slice(text).map_err(broken)?;
        document.check()?;
        Ok(document)
    }

    /// Whether what is set is what the changes say.
    fn check(&self) -> Result<(), FlagError> {
        let by_hand = |key: &str, stored: String, said: String| FlagError::ByHand {
            key: shown(key),
            stored,
            said,
        };
        let newest = self
            .changes
            .last()
            .map_or(Revision::ZERO, |change| change.revision);
        if self.revision != newest {
            let (stored, said) = (format!("`{}`", self.revision), format!("`{newest}`"));
            return Err(by_hand("revision", stored, said));
        }
        let changes = self.changes.iter();
        let said: BTreeMap<&str, &Entry> = changes
            .map(|change| (change.key.as_str(), change))
            .collect();
        for (key, setting) in &self.flags {
            let stored = || quoted(&setting.value);
            let Some(said) = said.get(key.as_str()) else {
                return Err(by_hand(key, stored(), "nothing".to_owned()));
            };
            let is_so = setting.revision == said.revision
                && setting.kind == said.after.kind
                && setting.value == said.after.value;
            if !is_so {
                let by = format!(
                    "{}, set in revision {} by {}",
                    quoted(&said.after.value),
                    said.revision,
                    shown(&said.who)
                );
                return Err(by_hand(key, stored(), by));
            }
        }
        match said
            .values()
            .find(|said| !self.flags.contains_key(&said.key))
        {
            None => Ok(()),
            Some(said) => {
                let (stored, said_value) = ("nothing".to_owned(), quoted(&said.after.value));
                Err(by_hand(&said.key, stored, said_value))
            }
        }
    }

    pub(super) fn stored(&self) -> Result<Stored, FlagError> {
        let values = self.flags.iter().map(|(key, setting)| {
            let value = read(key, &setting.kind, &setting.value)?;
            let stored = StoredValue {
                value,
                revision: setting.revision,
                hash_version: setting.hash_version,
            };
            Ok((key.clone(), stored))
        });
        Ok(Stored {
            revision: self.revision,
            values: values.collect::<Result<_, FlagError>>()?,
        })
    }

    /// What a store holds; its history newest first, as stores tell it.
    pub(super) fn of(stored: &Stored, history: &[Change]) -> Result<Self, FlagError> {
        let setting = |(key, stored): (&String, &StoredValue)| {
            let Kept { kind, value } = Kept::of(&stored.value)?;
            let setting = Setting {
                kind,
                value,
                revision: stored.revision,
                hash_version: stored.hash_version,
            };
            Ok((key.clone(), setting))
        };
        let change = |change: &Change| {
            Ok(Entry {
                revision: change.revision,
                key: change.key.clone(),
                before: change.before.as_ref().map(Kept::of).transpose()?,
                after: Kept::of(&change.after)?,
                who: change.who.clone(),
                why: change.why.clone(),
                at: change.at,
                hash_version: change.hash_version,
            })
        };
        let document = Self {
            format: FORMAT,
            revision: stored.revision,
            flags: stored
                .values
                .iter()
                .map(setting)
                .collect::<Result<_, FlagError>>()?,
            changes: history
                .iter()
                .rev()
                .map(change)
                .collect::<Result<_, FlagError>>()?,
        };
        // Who opens the copy would refuse it.
        document.check()?;
        Ok(document)
    }

    pub(super) fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        let newest = self.changes.iter().rev().take(limit);
        newest.map(Entry::change).collect()
    }

    /// Makes the next revision.
    pub(super) fn apply(&mut self, write: &Write, at: Timestamp) -> Result<(), FlagError> {
        self.revision = self.revision.next();
        for (key, value) in &write.set {
            let after = Kept::of(value)?;
            let setting = Setting {
                kind: after.kind.clone(),
                value: after.value.clone(),
                revision: self.revision,
                hash_version: HASH_VERSION,
            };
            let before = self.flags.insert(key.clone(), setting);
            self.changes.push(Entry {
                revision: self.revision,
                key: key.clone(),
                before: before.map(|before| Kept {
                    kind: before.kind,
                    value: before.value,
                }),
                after,
                who: write.who.clone(),
                why: write.why.clone(),
                at,
                hash_version: HASH_VERSION,
            });
        }
        Ok(())
    }
}

impl Entry {
    fn change(&self) -> Result<Change, FlagError> {
        // What cannot be read any more is nothing, as where a database is written over.
        let before = self.before.as_ref();
        let before = before.and_then(|before| read(&self.key, &before.kind, &before.value).ok());
        Ok(Change {
            revision: self.revision,
            key: self.key.clone(),
            before,
            after: read(&self.key, &self.after.kind, &self.after.value)?,
            who: self.who.clone(),
            why: self.why.clone(),
            at: self.at,
            hash_version: self.hash_version,
        })
    }
}

impl Kept {
    fn of(value: &FlagValue) -> Result<Self, FlagError> {
        let json = serde_json::to_value(value);
        Ok(Self {
            kind: value.kind().as_str().to_owned(),
            value: json.map_err(|error| FlagError::store(super::WRITING, error))?,
        })
    }
}

fn quoted(value: &serde_json::Value) -> String {
    format!("`{}`", shown(&value.to_string()))
}

fn read(key: &str, kind: &str, value: &serde_json::Value) -> Result<FlagValue, FlagError> {
    let corrupt = |problem| FlagError::Corrupt {
        key: key.to_owned(),
        text: shown(&value.to_string()),
        problem,
    };
    let known = Kind::from_word(kind).ok_or_else(|| {
        let kind = shown(kind);
        corrupt(format!("this program knows no flags of kind `{kind}`"))
    })?;
    known.read(value).map_err(corrupt)
}
