//! What a start makes of the file's sections and the versions that are there. Pure.
//!
//! - A section that is not what the file had last becomes a new version, or vouches for the newest
//!   one where somebody had sent the same before.
//! - A version that was sent stays the newest until the file changes: a restart takes nothing back.
//! - The active version says what is stable. `lanes.stable` says it only where nothing is active yet;
//!   afterwards a changed section of the stable pool's own name is the one act by which the file does.
//! - While a migration is unfinished, the sections of its two pools wait: what it names must serve
//!   until it has ended.

use std::collections::BTreeMap;

use super::store::{Row, Source};
use crate::pools::{PoolVersion, Record};

/// One thing to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Write the section down as this version.
    Insert(PoolVersion),
    /// This version is the file's too.
    Adopt(PoolVersion),
    /// This version is the stable one from now on.
    Activate(PoolVersion),
    /// The section has changed, and waits for the migration's end.
    Held(String),
}

pub(super) fn changes(
    rows: &[Row],
    sections: &BTreeMap<String, Record>,
    stable: &str,
    unfinished: &[&str],
) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut newest = BTreeMap::new();
    let active = rows
        .iter()
        .find(|row| row.active)
        .map(|row| row.pool.clone());
    for (name, section) in sections {
        let mine = || rows.iter().filter(|row| row.pool.name == *name);
        let last = mine().max_by_key(|row| row.pool.version);
        let from_file = mine()
            .filter(|row| row.source == Source::File)
            .max_by_key(|row| row.pool.version);
        let version = last.map_or(0, |row| row.pool.version);
        if from_file.is_some_and(|row| row.config == *section) {
            newest.insert(name, (PoolVersion::new(name, version), false));
            continue;
        }
        if last.is_some() && unfinished.contains(&name.as_str()) {
            changes.push(Change::Held(name.clone()));
            continue;
        }
        let pool = if last.is_some_and(|row| row.config == *section) {
            let pool = PoolVersion::new(name, version);
            changes.push(Change::Adopt(pool.clone()));
            pool
        } else {
            let pool = PoolVersion::new(name, version + 1);
            changes.push(Change::Insert(pool.clone()));
            pool
        };
        newest.insert(name, (pool, true));
    }
    let wanted = match &active {
        // Nothing was ever active: the file says what is stable.
        None => newest.get(&stable.to_owned()).map(|(pool, _)| pool),
        // The stable pool's own section was changed.
        Some(active) => newest
            .get(&active.name)
            .filter(|(pool, changed)| *changed && pool != active)
            .map(|(pool, _)| pool),
    };
    changes.extend(wanted.cloned().map(Change::Activate));
    changes
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn record(size: u32) -> Record {
        let record = json!({"kind": "pool-v2", "settings": {"workers": size}});
        record.as_object().unwrap().clone()
    }

    fn row(name: &str, version: u32, size: u32, source: Source, active: bool) -> Row {
        Row {
            pool: PoolVersion::new(name, version),
            config: record(size),
            active,
            source,
            who: "w".to_owned(),
            why: "w".to_owned(),
            inserted_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn file(sections: &[(&str, u32)]) -> BTreeMap<String, Record> {
        let section = |(name, size): &(&str, u32)| ((*name).to_owned(), record(*size));
        sections.iter().map(section).collect()
    }

    fn of(name: &str, version: u32) -> PoolVersion {
        PoolVersion::new(name, version)
    }

    const FILE: Source = Source::File;

    #[test]
    fn the_first_start_writes_every_section_down_and_the_file_says_what_is_stable() {
        let found = changes(&[], &file(&[("v1", 1), ("v2", 2)]), "v1", &[]);
        assert_eq!(
            found,
            [
                Change::Insert(of("v1", 1)),
                Change::Insert(of("v2", 1)),
                Change::Activate(of("v1", 1)),
            ]
        );
        let rows = [row("v1", 1, 1, FILE, true), row("v2", 1, 2, FILE, false)];
        assert!(changes(&rows, &file(&[("v1", 1), ("v2", 2)]), "v1", &[]).is_empty());
    }

    #[test]
    fn what_is_active_stays_whatever_lanes_stable_says() {
        let rows = [row("v1", 1, 1, FILE, false), row("v2", 1, 2, FILE, true)];
        assert!(changes(&rows, &file(&[("v1", 1), ("v2", 2)]), "v1", &[]).is_empty());
        // Another pool's section is a version, and no more.
        let found = changes(&rows, &file(&[("v1", 9), ("v2", 2)]), "v1", &[]);
        assert_eq!(found, [Change::Insert(of("v1", 2))]);
    }

    #[test]
    fn a_changed_section_of_the_stable_pool_is_an_act_unless_a_migration_is_unfinished() {
        let rows = [row("v1", 1, 1, FILE, true), row("v2", 1, 2, FILE, false)];
        let changed = file(&[("v1", 5), ("v2", 6)]);
        assert_eq!(
            changes(&rows, &changed, "v1", &[]),
            [
                Change::Insert(of("v1", 2)),
                Change::Insert(of("v2", 2)),
                Change::Activate(of("v1", 2)),
            ]
        );
        assert_eq!(
            changes(&rows, &changed, "v1", &["v1", "v2"]),
            [Change::Held("v1".to_owned()), Change::Held("v2".to_owned())]
        );
    }

    #[test]
    fn a_version_that_was_sent_outlives_restarts_until_the_file_changes() {
        let sent = row("v2", 2, 8, Source::Put, true);
        let rows = [row("v2", 1, 2, FILE, false), sent];
        assert!(changes(&rows, &file(&[("v2", 2)]), "v2", &[]).is_empty());
        // The same was written into the file: nothing new, and it is the file's from now on.
        let found = changes(&rows, &file(&[("v2", 8)]), "v2", &[]);
        assert_eq!(found, [Change::Adopt(of("v2", 2))]);
        let found = changes(&rows, &file(&[("v2", 3)]), "v2", &[]);
        assert_eq!(
            found,
            [Change::Insert(of("v2", 3)), Change::Activate(of("v2", 3))]
        );
    }

    #[test]
    fn a_database_from_before_versions_gets_its_first_ones_also_under_a_migration() {
        let found = changes(&[], &file(&[("v1", 1), ("v2", 2)]), "v1", &["v1", "v2"]);
        assert!(found.contains(&Change::Activate(of("v1", 1))), "{found:?}");
    }
}
