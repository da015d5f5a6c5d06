//! When a worker may be started: not too often for one slot, and not at all for a while where
//! starts fail one after another.
//!
//! Invariant: a start counts as a success only once its worker has lived through its probation or
//! has answered a call. A worker that is ready and dies at once is a crash loop all the same.

use std::time::Duration;

use dspex_breaker::{Backoff, Circuit, CircuitConfig, CircuitState, InvalidConfig, Permit};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::dispatcher::{Dispatcher, Handle};

/// No slot starts workers more often than this.
const SPACING: Duration = Duration::from_secs(1);
/// For how long a worker that answers nothing is on probation.
const PROBATION: Duration = Duration::from_secs(5);
/// Longest time between two looks at the circuit.
const RETRY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Starts {
    circuit: Circuit,
    backoff: Backoff,
}

/// A worker's start, until it is known whether it was a good one.
#[derive(Debug)]
pub(crate) struct Probation {
    permit: Option<Permit>,
    until: Instant,
}

impl Starts {
    pub(crate) fn new(pool: &str, config: &CircuitConfig) -> Result<Self, InvalidConfig> {
        Ok(Self {
            circuit: Circuit::new(format!("starts of {pool}"), config.clone())?,
            backoff: Backoff::exponential(SPACING, Duration::from_secs(30)),
        })
    }

    /// Leave to start a worker. Where there is none, those who wait for a worker of a pool that has
    /// none are told.
    pub(crate) fn permit<W: Handle>(&self, dispatcher: &Dispatcher<W>) -> Option<Probation> {
        let now = Instant::now();
        match self.circuit.try_permit(now) {
            Ok(permit) => Some(Probation {
                permit: Some(permit),
                until: now + PROBATION,
            }),
            Err(refused) => {
                dispatcher.despair(&format!(
                    "workers fail as soon as they are started; the next is tried in {:.0?}",
                    refused.retry_after
                ));
                None
            }
        }
    }

    /// How long to wait before leave is asked for again.
    pub(crate) fn retry(&self) -> Duration {
        match self.circuit.state(Instant::now()) {
            CircuitState::Open { until } => until
                .saturating_duration_since(Instant::now())
                .clamp(Duration::from_millis(10), RETRY),
            CircuitState::Closed | CircuitState::HalfOpen => RETRY,
        }
    }

    /// The least time between two starts of one slot.
    pub(crate) fn spacing(&self) -> Duration {
        SPACING
    }

    /// The time between two starts of one slot after this many failed ones in a row.
    pub(crate) fn delay(&self, failed: u32) -> Duration {
        self.backoff.delay(failed.max(1))
    }

    /// Switches the circuit.
    pub(crate) fn set_enabled<W: Handle>(&self, enabled: bool, dispatcher: &Dispatcher<W>) {
        self.circuit.set_enabled(enabled);
        if !enabled {
            dispatcher.hope();
        }
    }

    /// The circuit's state, for people.
    pub(crate) fn figures(&self) -> Value {
        let state = self.circuit.state(Instant::now());
        let mut figures = json!({"state": state.name(), "enabled": self.circuit.is_enabled()});
        if let CircuitState::Open { until } = state {
            let left = until.saturating_duration_since(Instant::now());
            figures["next_try_in_ms"] = json!(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        }
        figures
    }
}

impl Probation {
    /// The worker lives at `now`, and has answered so many calls.
    pub(crate) fn lives(&mut self, answered: u64, now: Instant) {
        if (answered > 0 || now >= self.until)
            && let Some(permit) = self.permit.take()
        {
            permit.success(now);
        }
    }

    /// The worker was lost at `now`, or was never ready. Of no account after its probation.
    pub(crate) fn failed(&mut self, now: Instant) {
        if let Some(permit) = self.permit.take() {
            permit.failure(now);
        }
    }
}
