//! The kernel's table of processes, as far as it tells whose a process is.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) session: u32,
    /// Threads, its first one included.
    pub(super) threads: u64,
    /// When it was started, in clock ticks since the system was. With the number it names a process
    /// for ever.
    pub(super) started: u64,
    /// It has ended, and waits to be reaped.
    pub(super) ended: bool,
}

impl Entry {
    /// The process of this number, if there is one.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The second field is the name, which may hold anything but ends with the last bracket.
        let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
        let name_begins = stat.iter().position(|&byte| byte == b'(')?;
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.trim().parse::<u64>().ok();
        let pid = number(stat.get(..name_begins)?)?;
        let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Counted from the third field, the state, on.
        let field = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        let narrow = |wide: u64| u32::try_from(wide).ok();
        Some(Self {
            pid: narrow(pid)?,
            parent: narrow(field(4)?)?,
            session: narrow(field(6)?)?,
            threads: field(20)?,
            started: field(22)?,
            ended: matches!(fields.first(), Some(&("Z" | "X"))),
        })
    }

    /// Whether the environment that it was started with holds this text. What cannot be read,
    /// because it is another user's or gone, does not.
    pub(super) fn environment_holds(&self, text: &[u8]) -> bool {
        let environment = std::fs::read(format!("/proc/{}/environ", self.pid));
        environment.is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == text))
    }
}

/// Every process that there is. It takes some microseconds for each.
pub(super) fn all() -> Vec<Entry> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|entry| Entry::of(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The table as it was not longer than this ago: several workers are looked at at about the same
/// time.
pub(super) fn recent(age: Duration) -> Arc<[Entry]> {
    static LAST: Mutex<Option<(Instant, Arc<[Entry]>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some((at, table)) if at.elapsed() < age => Arc::clone(table),
        _ => {
            let table: Arc<[Entry]> = all().into();
            *last = Some((Instant::now(), Arc::clone(&table)));
            table
        }
    }
}

/// Adds to `members` whatever descends from one of them.
pub(super) fn add_descendants(table: &[Entry], members: &mut HashSet<u32>) {
    loop {
        let before = members.len();
        for entry in table {
            if members.contains(&entry.parent) {
                members.insert(entry.pid);
            }
        }
        if members.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"4242 (a) b (c) S 7 4242 4240 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 13 0 99 1 2";
        let expected = Entry {
            pid: 4242,
            parent: 7,
            session: 4240,
            threads: 13,
            started: 99,
            ended: false,
        };
        assert_eq!(Entry::parse(stat), Some(expected));
        assert_eq!(Entry::parse(b"4242 (a) S 7"), None, "cut short");
    }

    #[test]
    fn we_are_in_the_table() {
        let us = std::process::id();
        assert!(all().iter().any(|entry| entry.pid == us && !entry.ended));
    }

    #[test]
    fn descendants_are_found_in_any_order() {
        let entry = |pid, parent| Entry {
            pid,
            parent,
            session: 0,
            threads: 1,
            started: 0,
            ended: false,
        };
        let table = [entry(4, 3), entry(9, 1), entry(3, 2)];
        let mut members = HashSet::from([2]);
        add_descendants(&table, &mut members);
        assert_eq!(members, HashSet::from([2, 3, 4]));
    }
}
