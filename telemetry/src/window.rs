//! What a lane did over a stretch of time: the figures that an analysis judges.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Blame, Latency};

/// One lane over one stretch of time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LaneWindow {
    /// How many calls ended.
    pub calls: u64,
    /// How many of them failed, by whose fault it was. Nobody stands here with a zero.
    pub errors: BTreeMap<Blame, u64>,
    /// All calls by kind: `"ok"` and the names of the failures.
    pub kinds: BTreeMap<String, u64>,
    /// How long calls took.
    pub total: Latency,
    /// How long calls took beside the program's own time. Calls whose worker does not report that
    /// time stand here with their total.
    pub overhead: Latency,
    /// The same by program, so that a different mix of programs in two lanes is not taken for a
    /// slower lane.
    pub programs: BTreeMap<String, ProgramWindow>,
    /// How many seconds the window really covers.
    pub seconds: f64,
}

impl LaneWindow {
    /// How many calls failed by the fault of `blame`.
    #[must_use]
    pub fn errors_of(&self, blame: Blame) -> u64 {
        self.errors.get(&blame).copied().unwrap_or(0)
    }

    /// Adds all of `other`'s calls, and the time that they cover.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        for (blame, count) in &other.errors {
            *self.errors.entry(*blame).or_default() += count;
        }
        for (kind, count) in &other.kinds {
            // Looked for first, because a name that is there need not be copied.
            match self.kinds.get_mut(kind) {
                Some(sum) => *sum += count,
                None => drop(self.kinds.insert(kind.clone(), *count)),
            }
        }
        self.total.merge(&other.total);
        self.overhead.merge(&other.overhead);
        for (name, calls) in &other.programs {
            match self.programs.get_mut(name) {
                Some(sum) => sum.merge(calls),
                None => drop(self.programs.insert(name.clone(), calls.clone())),
            }
        }
        self.seconds += other.seconds;
    }

    /// How many calls failed, whoever was at fault.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// One program in one lane over one stretch of time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ProgramWindow {
    /// How many calls ended.
    pub calls: u64,
    /// How many of them failed, whoever was at fault.
    pub errors: u64,
    /// How many of them failed by anybody's fault but the caller's.
    pub faults: u64,
    /// How long calls took.
    pub total: Latency,
    /// How long calls took beside the program's own time.
    pub overhead: Latency,
}

impl ProgramWindow {
    /// Adds all of `other`'s calls.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.faults += other.faults;
        self.total.merge(&other.total);
        self.overhead.merge(&other.overhead);
    }

    /// Takes away what was in it at an earlier time.
    pub(crate) fn take_away(&mut self, earlier: &Self) {
        self.calls = self.calls.saturating_sub(earlier.calls);
        self.errors = self.errors.saturating_sub(earlier.errors);
        self.faults = self.faults.saturating_sub(earlier.faults);
        self.total.take_away(&earlier.total);
        self.overhead.take_away(&earlier.overhead);
    }
}
