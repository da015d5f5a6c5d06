//! One event of the feed, and where a reader is after it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use dspex_flags::Change;
use dspex_migration::{Entry, MigrationId};
use dspex_router::{CircuitChange, CircuitDeed};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::reach::Gap;

/// Where a reader of the feed is: the revision of the flags, the entry of the newest migration, and the
/// change of a circuit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) revision: u64,
    pub(super) migration: Option<MigrationId>,
    pub(super) seq: u64,
    /// None for an id from before the feed told of circuits, or before it told of one.
    pub(super) circuits: Option<Circuits>,
}

/// Where a reader is in what one process tells of its circuits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circuits {
    /// When the process started, in milliseconds: the numbers are that process's.
    pub(super) process: i64,
    pub(super) number: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let migration = self.migration.as_ref().map_or("", MigrationId::as_str);
        write!(f, "{}~{migration}~{}", self.revision, self.seq)?;
        match self.circuits {
            Some(Circuits { process, number }) => write!(f, "~{process}.{number}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('~');
        let (Some(revision), Some(migration), Some(seq), circuits, None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(());
        };
        let circuits = circuits.map(|text| {
            let (process, number) = text.split_once('.').ok_or(())?;
            Ok(Circuits {
                process: process.parse().map_err(|_| ())?,
                number: number.parse().map_err(|_| ())?,
            })
        });
        Ok(Self {
            revision: revision.parse().map_err(|_| ())?,
            migration: Some(migration)
                .filter(|id| !id.is_empty())
                .map(MigrationId::from_text),
            seq: seq.parse().map_err(|_| ())?,
            circuits: circuits.transpose()?,
        })
    }
}

/// One event of any source.
pub(super) enum Happened {
    Flags(Vec<Change>),
    Journal(MigrationId, Box<Entry>),
    /// Of the process that started at this moment, in milliseconds.
    Circuit(i64, Arc<CircuitChange>),
    /// Something that is out of reach.
    Gap(Gap),
}

impl Happened {
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Flags(changes) => changes.first().map(|change| change.at),
            Self::Journal(_, entry) => Some(entry.at),
            Self::Circuit(_, change) => Some(change.at),
            Self::Gap(_) => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Flags(_) => "flags",
            Self::Journal(..) => "journal",
            Self::Circuit(..) => "circuit",
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
            Self::Circuit(process, change) => {
                cursor.circuits = Some(Circuits {
                    process: *process,
                    number: change.number,
                });
            }
            Self::Gap(Gap::Circuits(seen)) => cursor.circuits = Some(*seen),
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
            Self::Circuit(_, change) => {
                json!({"id": id.to_string(), "kind": "circuit", "at": change.at, "lane": change.lane,
                    "event": change.what, "text": told(change)})
            }
            Self::Gap(gap) => {
                json!({"id": id.to_string(), "kind": "gap", "at": self.at(), "text": gap.to_string()})
            }
        }
    }
}

/// A change of a circuit in words.
fn told(change: &CircuitChange) -> String {
    let lane = change.lane;
    match &change.what {
        CircuitDeed::State { to, cause, .. } => format!("the {lane} circuit is {to}: {cause}"),
        CircuitDeed::Mode { mode, by: Some(by) } => {
            format!("{} set the {lane} circuit to {mode}: {}", by.who, by.why)
        }
        CircuitDeed::Mode { mode, by: None } => {
            format!("the flag circuit_breaker set the {lane} circuit to {mode}")
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
            circuits: None,
        };
        let with = Cursor {
            circuits: Some(Circuits {
                process: 1_784_000_000_123,
                number: 7,
            }),
            ..cursor.clone()
        };
        for cursor in [cursor, with] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert_eq!(Cursor::default().to_string().parse(), Ok(Cursor::default()));
        for text in [
            "",
            "7",
            "7~m-1",
            "x~m-1~2",
            "7~m-1~2~3",
            "7~m-1~-2",
            "7~m-1~2~3.x",
            "7~m-1~2~3.4~5",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
    }
}
