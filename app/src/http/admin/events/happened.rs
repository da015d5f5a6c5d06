//! One event of the feed, and where a reader is after it.

use std::fmt;
use std::str::FromStr;

use dspex_flags::Change;
use dspex_migration::{Entry, MigrationId};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::reach::Gap;

/// Where a reader of the feed is: the revision of the flags, and the entry of the newest migration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) revision: u64,
    pub(super) migration: Option<MigrationId>,
    pub(super) seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let migration = self.migration.as_ref().map_or("", MigrationId::as_str);
        write!(f, "{}~{migration}~{}", self.revision, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('~');
        let (Some(revision), Some(migration), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self {
            revision: revision.parse().map_err(|_| ())?,
            migration: Some(migration)
                .filter(|id| !id.is_empty())
                .map(MigrationId::from_text),
            seq: seq.parse().map_err(|_| ())?,
        })
    }
}

/// One event of either source.
pub(super) enum Happened {
    Flags(Vec<Change>),
    Journal(MigrationId, Box<Entry>),
    /// Something that is out of reach.
    Gap(Gap),
}

impl Happened {
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Flags(changes) => changes.first().map(|change| change.at),
            Self::Journal(_, entry) => Some(entry.at),
            Self::Gap(_) => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Flags(_) => "flags",
            Self::Journal(..) => "journal",
            Self::Gap(_) => "gap",
        }
    }

    /// Moves the cursor over it.
    pub(super) fn pass(&self, cursor: &mut Cursor) {
        match self {
            Self::Flags(changes) => {
                let newest = changes.iter().map(|change| change.revision.get()).max();
                cursor.revision = newest.unwrap_or_default().max(cursor.revision);
            }
            Self::Journal(migration, entry) => {
                cursor.migration = Some(migration.clone());
                cursor.seq = entry.seq;
            }
            Self::Gap(Gap::Flags(revision)) => cursor.revision = *revision,
            Self::Gap(Gap::Journal(first)) => {
                cursor.migration = Some(first.clone());
                cursor.seq = 0;
            }
        }
    }

    pub(super) fn json(&self, id: &Cursor) -> Value {
        match self {
            Self::Flags(changes) => json!({"id": id.to_string(), "kind": "flags", "at": self.at(),
                "changes": changes}),
            Self::Journal(migration, entry) => {
                json!({"id": id.to_string(), "kind": "journal", "at": entry.at,
                    "migration": migration, "seq": entry.seq, "event": entry.event.shown(),
                    "text": entry.event.to_string(), "trouble": entry.event.is_trouble()})
            }
            Self::Gap(gap) => {
                json!({"id": id.to_string(), "kind": "gap", "at": self.at(), "text": gap.to_string()})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let cursor = Cursor {
            revision: 7,
            migration: Some(MigrationId::generate()),
            seq: 12,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!(Cursor::default().to_string().parse(), Ok(Cursor::default()));
        for text in ["", "7", "7~m-1", "x~m-1~2", "7~m-1~2~3", "7~m-1~-2"] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
    }
}
