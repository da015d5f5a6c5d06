//! Which worker is due to be replaced although it is well, and why.
//!
//! Invariants: all pure. A worker's limits are drawn once, at its start, so that workers started
//! together do not end together; chance only ever takes off, so a limit that is set is never
//! passed. No two workers are taken within `spacing`, and none while it is on a call: one that is
//! busy is to be drained first. A worker is only let go for idleness above the least size.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::InvalidConfig;

/// When workers are replaced although they are well.
///
/// Everything is off by default. Replacing a worker that is well costs a start and a cold cache, and
/// hides what it is meant to cure: turn on `max_calls` or `max_memory` where a program is known to
/// leak, and `idle_ttl` where memory is dear and traffic comes in waves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecyclingConfig {
    /// Calls after which a worker is replaced.
    pub max_calls: Option<u64>,
    /// How long a worker lives at the most, in text such as `"12h"`.
    #[serde(with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// How long a worker may be without a call before it is let go, above the least size. It is not
    /// replaced.
    #[serde(with = "humantime_serde")]
    pub idle_ttl: Option<Duration>,
    /// The worker's own memory (PSS), in bytes, above which it is replaced.
    pub max_memory: Option<u64>,
    /// The share of each limit, 0 to 0.5, that chance may take off for a worker.
    pub jitter: f64,
    /// The least time between two workers that are taken.
    #[serde(with = "humantime_serde")]
    pub spacing: Duration,
}

impl Default for RecyclingConfig {
    fn default() -> Self {
        Self {
            max_calls: None,
            max_age: None,
            idle_ttl: None,
            max_memory: None,
            jitter: 0.1,
            spacing: Duration::from_secs(10),
        }
    }
}

impl RecyclingConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let refuse = |setting, value: String, expected| {
            Err(InvalidConfig {
                setting,
                value,
                expected,
            })
        };
        if !(0.0..=0.5).contains(&self.jitter) {
            return refuse("recycling.jitter", self.jitter.to_string(), "use 0 to 0.5");
        }
        if self.spacing.is_zero() {
            let expected = "use more than 0s, so that never two are taken at once";
            return refuse("recycling.spacing", "0s".to_owned(), expected);
        }
        if self.max_calls == Some(0) {
            return refuse("recycling.max_calls", "0".to_owned(), "use at least 1");
        }
        if self.max_memory.is_some_and(|bytes| bytes < 16 << 20) {
            let value = self.max_memory.unwrap_or_default().to_string();
            let expected = "use at least 16 MiB: Python alone needs as much";
            return refuse("recycling.max_memory", value, expected);
        }
        for (setting, time) in [
            ("recycling.max_age", self.max_age),
            ("recycling.idle_ttl", self.idle_ttl),
        ] {
            if time.is_some_and(|time| time < Duration::from_secs(1)) {
                let expected = "use at least 1s: a worker takes longer to start";
                return refuse(setting, format!("{:?}", time.unwrap_or_default()), expected);
            }
        }
        Ok(())
    }
}

/// The limits of one worker, with what chance took off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    calls: Option<u64>,
    age: Option<Duration>,
    idle: Option<Duration>,
    memory: Option<u64>,
}

impl Limits {
    /// Draws the limits of a worker that starts. Equal seeds draw equal limits; give each worker
    /// its own, such as a hash of its id.
    pub(crate) fn draw(config: &RecyclingConfig, seed: u64) -> Self {
        let jitter = if (0.0..=0.5).contains(&config.jitter) {
            config.jitter
        } else {
            0.0
        };
        // Each limit has a draw of its own, so that one does not always come before another.
        let left = |salt: u64| 1.0 - jitter * unit(seed ^ salt.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let number = |limit: u64, salt| scaled(limit, left(salt)).max(1);
        Self {
            calls: config.max_calls.map(|calls| number(calls, 1)),
            age: config.max_age.map(|age| age.mul_f64(left(2))),
            idle: config.idle_ttl.map(|idle| idle.mul_f64(left(3))),
            memory: config.max_memory.map(|bytes| number(bytes, 4)),
        }
    }
}

/// What a worker is like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Worker {
    /// Since it was ready.
    pub(crate) age: Duration,
    /// Calls answered since it started.
    pub(crate) calls: u64,
    /// Since its last call ended, or since it was ready.
    pub(crate) idle: Duration,
    /// Its own memory (PSS) in bytes, where it was measured.
    pub(crate) memory: Option<u64>,
    /// Calls on it.
    pub(crate) in_flight: usize,
}

/// What the pool is like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pool {
    /// Workers above the least size.
    pub(crate) spare: usize,
    /// When a worker was taken last.
    pub(crate) taken: Option<Instant>,
}

/// Why a worker is replaced although it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// It has been without a call for too long.
    IdleTtl,
    /// It has lived for long enough.
    MaxAge,
    /// It has answered calls enough.
    MaxCalls,
    /// It has grown too large.
    MaxMemory,
}

impl Cause {
    /// Whether another worker takes its place. One that nobody needed has none.
    pub(crate) fn is_replaced(self) -> bool {
        self != Self::IdleTtl
    }
}

/// A worker that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) cause: Cause,
    /// It is on a call: it takes no new ones, and ends when the last is done.
    pub(crate) drain_first: bool,
    /// Why, with the figures, for the log and the worker's history.
    pub(crate) reason: String,
}

/// Whether a worker is due, whatever the others are like.
pub(crate) fn due(limits: &Limits, worker: &Worker, pool: &Pool) -> Option<Due> {
    let found = |cause, reason| {
        Some(Due {
            cause,
            drain_first: worker.in_flight > 0,
            reason,
        })
    };
    if let Some((memory, limit)) = worker.memory.zip(limits.memory)
        && memory >= limit
    {
        let reason = format!("its memory is {}, limit {}", mib(memory), mib(limit));
        return found(Cause::MaxMemory, reason);
    }
    if let Some(limit) = limits.calls.filter(|limit| worker.calls >= *limit) {
        let reason = format!("it has answered {} calls, limit {limit}", worker.calls);
        return found(Cause::MaxCalls, reason);
    }
    if let Some(limit) = limits.age.filter(|limit| worker.age >= *limit) {
        let reason = format!("it is {} old, limit {}", span(worker.age), span(limit));
        return found(Cause::MaxAge, reason);
    }
    let idle = limits.idle.filter(|limit| worker.idle >= *limit);
    if let Some(limit) = idle.filter(|_| worker.in_flight == 0 && pool.spare > 0) {
        let reason = format!(
            "it has had no call for {}, limit {}",
            span(worker.idle),
            span(limit)
        );
        return found(Cause::IdleTtl, reason);
    }
    None
}

/// The one worker of all that is to be taken now, as an index. None within `spacing` of the last.
///
/// The one with the gravest cause goes first; of several, one that is on no call, and then the one
/// with the most calls behind it.
pub(crate) fn next<'a>(
    config: &RecyclingConfig,
    workers: impl IntoIterator<Item = (&'a Limits, &'a Worker)>,
    pool: &Pool,
    now: Instant,
) -> Option<(usize, Due)> {
    let spaced = pool
        .taken
        .is_none_or(|last| now.saturating_duration_since(last) >= config.spacing);
    if !spaced {
        return None;
    }
    workers
        .into_iter()
        .enumerate()
        .filter_map(|(index, (limits, worker))| {
            let due = due(limits, worker, pool)?;
            Some((index, worker.calls, due))
        })
        .max_by_key(|(index, calls, due)| {
            let first = std::cmp::Reverse(*index);
            (due.cause, !due.drain_first, *calls, first)
        })
        .map(|(index, _, due)| (index, due))
}

/// A number from 0 to 1 that looks drawn, from a seed (SplitMix64's finalizer).
fn unit(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of a limit: what an f64 rounds off does not matter, and it is not negative"
)]
fn scaled(limit: u64, part: f64) -> u64 {
    ((limit as f64 * part) as u64).min(limit)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1}s", time.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}
