//! How long the old pool is kept after a migration is complete.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the old pool is kept after the migration is complete. Counted is the time in which the
/// candidate was seen to serve all traffic: it had a worker, and calls enough to be judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long its workers are kept, so that a rollback is instant, and the evidence rolls back by
    /// itself. After that it is cold: it wakes on its first call, and only a person rolls back.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub warm: Duration,
    /// How long until it may be decommissioned.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub decommission_after: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            // What goes wrong with the load of a whole day goes wrong within one.
            warm: day,
            decommission_after: day,
        }
    }
}

impl Retention {
    /// How much unwritten time is written down at the latest: it may be lost where the controller
    /// dies, and each costs an entry.
    pub(crate) fn grain(&self) -> Duration {
        const ENTRIES: u32 = 48;
        self.longest() / ENTRIES
    }

    /// How long time is counted for.
    pub(crate) fn longest(&self) -> Duration {
        self.warm.max(self.decommission_after)
    }
}
