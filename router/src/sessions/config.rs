//! How many session states are kept, how large, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of session states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Sessions kept at most, over all programs; beyond it the one used longest ago is dropped.
    pub max_sessions: u64,
    /// The largest state of one session, in bytes of JSON.
    pub max_state_bytes: usize,
    /// A session that was not used for so long is dropped.
    #[serde(with = "humantime_serde")]
    pub expire_after: Duration,
    /// States kept in memory too, in bytes: those used last.
    pub cache_bytes: usize,
    /// Calls of one session that may wait for the one that runs.
    pub max_waiting: usize,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            max_sessions: 100_000,
            max_state_bytes: 1024 * 1024,
            expire_after: Duration::from_secs(24 * 3600),
            cache_bytes: 64 * 1024 * 1024,
            max_waiting: 16,
        }
    }
}

impl SessionsConfig {
    /// The setting that is out of its range, its value, and what would be accepted.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        if self.max_sessions == 0 {
            return Err(("sessions.max_sessions", "0".to_owned(), "at least 1"));
        }
        if self.max_state_bytes == 0 {
            return Err(("sessions.max_state_bytes", "0".to_owned(), "at least 1"));
        }
        // Years are as good as never; more would leave the calendar.
        let longest = Duration::from_secs(10 * 366 * 24 * 3600);
        if self.expire_after < Duration::from_secs(1) || self.expire_after > longest {
            return Err((
                "sessions.expire_after",
                humantime::format_duration(self.expire_after).to_string(),
                "at least 1s and at most 10years",
            ));
        }
        Ok(())
    }
}
