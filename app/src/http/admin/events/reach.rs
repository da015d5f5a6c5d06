//! How far the feed reaches back, and what it says where that is not far enough.

use std::fmt;
use std::sync::Arc;

use dspex_flags::Change;
use dspex_migration::{MigrationId, Summary};
use dspex_router::CircuitChange;

use super::happened::{Circuits, Cursor, Happened};

/// Changes of flags, and migrations, that the feed reaches back over.
pub(super) const REACH: usize = 1_000;

/// What the feed cannot tell any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gap {
    /// Writes of flags, up to this revision.
    Flags(u64),
    /// Entries of migrations that began before this one.
    Journal(MigrationId),
    /// Changes of circuits, up to this one.
    Circuits(Circuits),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags(revision) => write!(
                f,
                "changes of flags up to revision {revision} are missing here: only the newest {REACH} \
                 are reached back to"
            ),
            Self::Circuits(_) => f.write_str(
                "changes of circuits are missing here: they are kept for as long as the server runs, and only \
                 the last of them",
            ),
            Self::Journal(first) => write!(
                f,
                "entries of migrations that began before {first} may be missing here: the one that was \
                 seen last is unknown, or not among the newest {REACH}"
            ),
        }
    }
}

/// The writes after `revision`, the oldest first, of the changes that are the newest `reach`.
pub(super) fn writes(newest: Vec<Change>, revision: u64, reach: usize) -> Vec<Happened> {
    let mut found = Vec::new();
    let mut after = revision;
    // Where there may be more, the oldest write that is reached may be reached in part only.
    let oldest = newest.last().filter(|_| newest.len() >= reach);
    if let Some(cut) = oldest.map(|change| change.revision.get())
        && cut > revision
    {
        found.push(Happened::Gap(Gap::Flags(cut)));
        after = cut;
    }
    let mut writes: Vec<Vec<Change>> = Vec::new();
    for change in newest.into_iter().rev() {
        match writes.last_mut() {
            _ if change.revision.get() <= after => {}
            Some(write) if write[0].revision == change.revision => write.push(change),
            _ => writes.push(vec![change]),
        }
    }
    found.extend(writes.into_iter().map(Happened::Flags));
    found
}

/// The changes of circuits after the cursor, the oldest first, of those that the process which started at
/// `process` has `kept`; of these, `kept` are all whose numbers are beyond the cursor's.
pub(super) fn circuits(
    kept: Vec<Arc<CircuitChange>>,
    seen: Option<Circuits>,
    process: i64,
) -> Vec<Happened> {
    let of_this = seen.filter(|seen| seen.process == process);
    let after = of_this.map_or(0, |seen| seen.number);
    let first = kept.first().map_or(after, |change| change.number - 1);
    let another = seen.is_some() && of_this.is_none();
    let missing = Circuits {
        process,
        number: first,
    };
    let gap = (another || first > after).then_some(Happened::Gap(Gap::Circuits(missing)));
    let told = kept
        .into_iter()
        .map(|change| Happened::Circuit(process, change));
    gap.into_iter().chain(told).collect()
}

/// The migrations that have entries after the cursor, as they began, and after which entry of each; of
/// those that are the newest `reach`, the newest first. And whether there may be others.
pub(super) fn unheard(
    mut newest: Vec<Summary>,
    cursor: &Cursor,
    reach: usize,
) -> (Option<Gap>, Vec<(MigrationId, u64)>) {
    let all = newest.len() < reach;
    newest.reverse();
    let seen = |id: &MigrationId| newest.iter().position(|migration| migration.id == *id);
    let place = cursor.migration.as_ref().map(seen);
    let out_of_reach = match place {
        None => !all,
        Some(place) => place.is_none(),
    };
    let gap = newest
        .first()
        .filter(|_| out_of_reach)
        .map(|first| Gap::Journal(first.id.clone()));
    let place = place.flatten();
    let unheard = newest.into_iter().enumerate().skip(place.unwrap_or(0));
    let unheard = unheard.filter_map(|(at, migration)| {
        let after = if place == Some(at) { cursor.seq } else { 0 };
        (after < migration.last_seq).then_some((migration.id, after))
    });
    (gap, unheard.collect())
}

#[cfg(test)]
mod tests {
    use dspex_flags::{FlagValue, Revision};
    use dspex_migration::Phase;
    use dspex_router::{CircuitDeed, CircuitMode};
    use dspex_telemetry::Lane;
    use jiff::Timestamp;

    use super::*;

    /// Changes by the revisions of their writes.
    fn changes(revisions: &[u64]) -> Vec<Change> {
        let change = |revision: &u64| Change {
            revision: Revision::new(*revision),
            key: "pool_v2_enabled".to_owned(),
            before: None,
            after: FlagValue::Bool(true),
            who: "ada".to_owned(),
            why: "because".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            hash_version: 1,
        };
        revisions.iter().map(change).collect()
    }

    /// How the cursor moves over what is found, and what that is.
    fn told(found: &[Happened]) -> Vec<(&'static str, u64)> {
        let mut cursor = Cursor::default();
        let passed = found.iter().map(|happened| {
            happened.pass(&mut cursor);
            (happened.kind(), cursor.revision)
        });
        passed.collect()
    }

    #[test]
    fn writes_are_told_whole_and_what_is_out_of_reach_is_said_to_be() {
        let newest = || changes(&[9, 8, 8, 7]);
        let all = [("flags", 7), ("flags", 8), ("flags", 9)];
        assert_eq!(told(&writes(newest(), 0, 5)), all, "there are no others");
        assert_eq!(told(&writes(newest(), 7, 4)), all[1..], "heard already");
        // Revision 7 may have changed more than the one flag that is reached.
        let cut = [("gap", 7), ("flags", 8), ("flags", 9)];
        assert_eq!(told(&writes(newest(), 3, 4)), cut);
        assert_eq!(told(&writes(newest(), 6, 4)), cut);
        assert!(writes(Vec::new(), 3, 4).is_empty());
    }

    #[test]
    fn changes_of_circuits_are_one_processs_and_what_is_missing_is_said() {
        let change = |number| {
            Arc::new(CircuitChange {
                number,
                at: Timestamp::UNIX_EPOCH,
                lane: Lane::Stable,
                what: CircuitDeed::Mode {
                    mode: CircuitMode::Disabled,
                    by: None,
                },
            })
        };
        let seen = |process, number| Some(Circuits { process, number });
        // What is told, and where a reader is after it.
        let told = |kept: &[u64], at: Option<Circuits>| {
            let found = circuits(kept.iter().copied().map(change).collect(), at, 9);
            let mut cursor = Cursor::default();
            let passed = found.iter().map(|happened| {
                happened.pass(&mut cursor);
                let at = cursor.circuits.unwrap();
                assert_eq!(at.process, 9);
                (happened.kind(), at.number)
            });
            passed.collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 2], None), [("circuit", 1), ("circuit", 2)]);
        assert_eq!(told(&[], None), [], "nothing happened");
        assert_eq!(told(&[5], seen(9, 4)), [("circuit", 5)]);
        assert_eq!(told(&[], seen(9, 4)), []);
        assert_eq!(told(&[5], None), [("gap", 4), ("circuit", 5)]);
        assert_eq!(told(&[5], seen(9, 2)), [("gap", 4), ("circuit", 5)]);
        // Another process told of four: what it told after them is gone with it.
        assert_eq!(told(&[1], seen(8, 4)), [("gap", 0), ("circuit", 1)]);
        assert_eq!(told(&[], seen(8, 4)), [("gap", 0)]);
    }

    fn summary(id: &str) -> Summary {
        Summary {
            id: MigrationId::from_text(id),
            candidate: "v2".to_owned(),
            stable: "v1".to_owned(),
            phase: Phase::RolledBack,
            who: "ada".to_owned(),
            why: "because".to_owned(),
            outcome: None,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            last_seq: 5,
        }
    }

    #[test]
    fn migrations_follow_each_other_as_they_began_and_a_gap_is_said() {
        // The clock went back between the first and the second: the later one's id is the lesser.
        let newest = || vec![summary("m-8"), summary("m-7"), summary("m-9")];
        let at = |migration: &str, seq| Cursor {
            revision: 0,
            migration: Some(MigrationId::from_text(migration)),
            seq,
            circuits: None,
        };
        let ids = |list: &[(&str, u64)]| {
            let of = |(id, after): &(&str, u64)| (MigrationId::from_text(*id), *after);
            list.iter().map(of).collect::<Vec<_>>()
        };
        let from_the_first = ids(&[("m-9", 3), ("m-7", 0), ("m-8", 0)]);
        assert_eq!(unheard(newest(), &at("m-9", 3), 3), (None, from_the_first));
        let done = ids(&[("m-8", 0)]);
        assert_eq!(unheard(newest(), &at("m-7", 5), 3), (None, done));
        let all = || ids(&[("m-9", 0), ("m-7", 0), ("m-8", 0)]);
        assert_eq!(unheard(newest(), &Cursor::default(), 4), (None, all()));
        let gap = || Some(Gap::Journal(MigrationId::from_text("m-9")));
        assert_eq!(unheard(newest(), &Cursor::default(), 3), (gap(), all()));
        assert_eq!(unheard(newest(), &at("m-1", 2), 4), (gap(), all()));
        // Said once: it moves the cursor to where the feed begins.
        let mut cursor = at("m-1", 2);
        Happened::Gap(gap().unwrap()).pass(&mut cursor);
        assert_eq!(unheard(newest(), &cursor, 3), (None, all()));
    }
}
