//! When a slot may start its next worker.
//!
//! Invariants: a slot starts at most one worker a `spacing`. While its workers come to nothing it
//! waits longer each time, up to the cap; a worker has come to something once it has answered a call
//! or lived for `settled_after`, so one that is ready and dies at once is a crash loop like one that
//! never gets ready, and a worker that is killed at work is replaced without delay. After
//! `failures` in a row over all slots the circuit opens, and the pool probes with one start at a
//! time.

use std::time::Duration;

use dspex_breaker::{Backoff, Circuit, CircuitConfig, CircuitState, Permit};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::InvalidConfig;

/// How often workers are started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartConfig {
    /// The least time between two starts of one slot.
    #[serde(with = "humantime_serde")]
    pub spacing: Duration,
    /// The waits after workers that came to nothing, one after the other.
    pub backoff: Backoff,
    /// A worker that has lived this long, or answered a call, has come to something.
    #[serde(with = "humantime_serde")]
    pub settled_after: Duration,
    /// Starts in a row, over all slots, after which no more are tried for a while.
    pub failures: u32,
    /// For how long.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
}

impl Default for StartConfig {
    fn default() -> Self {
        Self {
            spacing: Duration::from_secs(1),
            backoff: Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30))
                .with_jitter(0.2),
            settled_after: Duration::from_secs(10),
            failures: 5,
            open_for: Duration::from_secs(10),
        }
    }
}

impl StartConfig {
    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.spacing.is_zero() {
            return Err(InvalidConfig {
                setting: "recovery.start.spacing",
                value: "0s".to_owned(),
                expected: "use more than 0s: a worker that dies at once would start without end",
            });
        }
        if let Err(error) = self.backoff.validate() {
            return Err(InvalidConfig {
                setting: "recovery.start.backoff",
                value: error.to_string(),
                expected: "use a base up to the cap, and a jitter of 0 to 1",
            });
        }
        if let Err(error) = self.circuit().validate() {
            return Err(InvalidConfig {
                setting: "recovery.start",
                value: error.to_string(),
                expected: "use at least 1 failure, and an open_for of more than 0s",
            });
        }
        Ok(())
    }

    fn circuit(&self) -> CircuitConfig {
        CircuitConfig {
            consecutive_failures: self.failures,
            // Only failures in a row count: some starts that fail among many that do not are the
            // slots' own affair.
            failure_rate: 1.0,
            minimum_calls: self.failures,
            open_for: self.open_for,
            half_open_max: 1,
            close_after: 1,
            ..CircuitConfig::default()
        }
    }
}

/// The starts of all of a pool's slots together.
#[derive(Debug, Clone)]
pub(crate) struct Starts {
    config: StartConfig,
    circuit: Circuit,
}

/// The starts of one slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SlotStarts {
    last: Option<Instant>,
    /// Workers in a row that came to nothing.
    failed: u32,
}

/// Why a slot may not start a worker now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayNotStart {
    /// The slot has started one just now, or its last ones came to nothing.
    Slot {
        /// When it may.
        after: Duration,
    },
    /// Starts come to nothing all over the pool.
    Pool {
        /// When to ask again.
        after: Duration,
    },
}

impl MayNotStart {
    /// When to ask again.
    pub(crate) fn after(self) -> Duration {
        match self {
            Self::Slot { after } | Self::Pool { after } => after,
        }
    }
}

/// Leave to start one worker. Keep it until it is known what came of that; one that is dropped says
/// that nothing was learnt.
#[derive(Debug)]
#[must_use = "a start whose outcome is not told teaches nothing"]
pub(crate) struct StartPermit {
    permit: Permit,
}

impl Starts {
    /// For the pool of that name.
    ///
    /// # Errors
    /// Where the settings cannot be used.
    pub(crate) fn new(pool: &str, config: StartConfig) -> Result<Self, InvalidConfig> {
        config.check()?;
        let circuit = Circuit::new(format!("{pool} starts"), config.circuit());
        let circuit = circuit.map_err(|error| InvalidConfig {
            setting: "recovery.start",
            value: error.to_string(),
            expected: "use at least 1 failure, and an open_for of more than 0s",
        })?;
        Ok(Self { config, circuit })
    }

    /// The circuit, to be looked at.
    pub(crate) fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Asks to start a worker. `random` is uniform over all of `u64`, and best the same until the
    /// slot has started.
    ///
    /// # Errors
    /// Says when to ask again.
    pub(crate) fn ask(
        &self,
        slot: &mut SlotStarts,
        now: Instant,
        random: u64,
    ) -> Result<StartPermit, MayNotStart> {
        if let Some(last) = slot.last {
            let wait = self.config.backoff.jittered(slot.failed, random);
            let next = last + wait.max(self.config.spacing);
            let after = next.saturating_duration_since(now);
            if !after.is_zero() {
                return Err(MayNotStart::Slot { after });
            }
        }
        match self.circuit.try_permit(now) {
            Ok(permit) => {
                slot.last = Some(now);
                Ok(StartPermit { permit })
            }
            Err(refused) => Err(MayNotStart::Pool {
                after: refused.retry_after.max(Duration::from_millis(1)),
            }),
        }
    }

    /// For how long no slot at all may start a worker, where that is so. A slot that waits for its
    /// own turn may be the only one left to say it.
    pub(crate) fn none_for(&self, not: MayNotStart, now: Instant) -> Option<Duration> {
        match (not, self.circuit.state(now)) {
            (MayNotStart::Pool { after }, _) => Some(after),
            (MayNotStart::Slot { after }, CircuitState::Open { until }) => {
                Some(after.max(until.saturating_duration_since(now)))
            }
            (MayNotStart::Slot { .. }, _) => None,
        }
    }

    /// Whether a worker that became ready has come to something.
    pub(crate) fn has_settled(&self, ready_for: Duration, calls: u64) -> bool {
        calls > 0 || ready_for >= self.config.settled_after
    }
}

impl StartPermit {
    /// The worker has come to something.
    pub(crate) fn settled(self, slot: &mut SlotStarts, now: Instant) {
        slot.failed = 0;
        self.permit.success(now);
    }

    /// The worker never got ready, or ended before it came to something.
    pub(crate) fn failed(self, slot: &mut SlotStarts, now: Instant) {
        slot.failed = slot.failed.saturating_add(1);
        self.permit.failure(now);
    }
}
