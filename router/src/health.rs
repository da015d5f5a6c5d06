//! What the router says about itself. Cheap: no worker and no database is asked.

use std::time::Duration;

use dspex_breaker::{CircuitState, Mode, Phase};
use dspex_flags::Revision;
use dspex_pool::PoolStatus;
use dspex_telemetry::Lane;
use serde::Serialize;
use tokio::time::Instant;

use crate::circuits::InHand;
use crate::dispatch::LaneState;
use crate::error::RouterError;
use crate::rescue::RescueHealth;
use crate::router::Router;

/// The router at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouterHealth {
    /// The stable pool.
    pub stable: PoolStatus,
    /// The candidate pool, where there is one.
    pub candidate: Option<PoolStatus>,
    /// One circuit for each lane that has a pool, stable's first.
    pub circuits: Vec<CircuitHealth>,
    /// Calls that are sent once more, and what is left to do so.
    pub rescue: RescueHealth,
    /// The revision of the flags that calls are routed by.
    pub flag_revision: Revision,
}

impl RouterHealth {
    /// Whether calls are answered: stable takes calls and has a worker; or it rests, and the candidate
    /// serves in its place. One that only might wake answers nobody yet.
    #[must_use]
    pub fn ready(&self) -> bool {
        answers(&self.stable, self.candidate.as_ref())
    }
}

fn answers(stable: &PoolStatus, candidate: Option<&PoolStatus>) -> bool {
    let serves = |pool: &PoolStatus| pool.ready > 0 && !pool.draining;
    serves(stable) || (stable.resting && !stable.draining && candidate.is_some_and(serves))
}

/// A lane's circuit at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CircuitHealth {
    /// Which lane.
    pub lane: Lane,
    /// Whether the circuit may refuse calls at all.
    pub enabled: bool,
    /// Who decides: `automatic` for the circuit itself, or the mode that is set.
    pub mode: Mode,
    /// The person who set the mode; none where it is the circuit's own, or the flag's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<InHand>,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// In how many milliseconds an open circuit lets probes through; none where a person holds it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// How often the circuit has changed its state.
    pub transitions: u64,
    /// Its last change of state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastTransition>,
}

/// A circuit's last change of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastTransition {
    /// The state before.
    pub from: Phase,
    /// The state after.
    pub to: Phase,
    /// Why, in words.
    pub cause: String,
    /// How long ago, in milliseconds.
    pub ms_ago: u64,
}

impl CircuitHealth {
    pub(crate) fn of(lane: &LaneState, now: Instant) -> Self {
        let state = lane.circuit.state(now);
        let mode = lane.circuit.mode();
        let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let last = lane.circuit.transitions().pop();
        Self {
            lane: lane.lane,
            enabled: mode != Mode::Disabled,
            mode,
            held_by: lane.held().map(|held| held.by),
            state: state.name(),
            retry_after_ms: match state {
                CircuitState::Open { until } if mode == Mode::Automatic => {
                    Some(millis(until.saturating_duration_since(now)))
                }
                _ => None,
            },
            transitions: last.map_or(0, |last| last.number),
            last: last.map(|last| LastTransition {
                from: last.from,
                to: last.to,
                cause: last.cause.to_string(),
                ms_ago: millis(now.saturating_duration_since(last.at)),
            }),
        }
    }
}

/// The sessions of stateful programs at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SessionsHealth {
    /// Sessions that have a state.
    pub sessions: u64,
    /// Their states together, in bytes of JSON.
    pub bytes: u64,
    /// Sessions that lost their state because there were too many, since this router was made.
    pub evicted: u64,
}

impl Router {
    /// How many sessions have a state. Reads one row of the store.
    ///
    /// # Errors
    ///
    /// [`RouterError::Sessions`] where the store fails.
    pub async fn sessions(&self) -> Result<SessionsHealth, RouterError> {
        let totals = self.sessions.totals().await?;
        Ok(SessionsHealth {
            sessions: totals.sessions,
            bytes: totals.bytes,
            evicted: self.sessions.evicted(),
        })
    }

    /// What the lanes, their circuits and the served flags look like right now.
    pub fn health(&self) -> RouterHealth {
        let now = Instant::now();
        let candidate = self.candidate_lane();
        let stable = self.stable_lane();
        let mut circuits = vec![CircuitHealth::of(&stable, now)];
        circuits.extend(candidate.iter().map(|lane| CircuitHealth::of(lane, now)));
        RouterHealth {
            stable: stable.pool.status(),
            candidate: candidate.map(|lane| lane.pool.status()),
            circuits,
            rescue: self.rescue.health(now),
            flag_revision: self.served.load().revision(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(ready: usize, resting: bool, draining: bool) -> PoolStatus {
        PoolStatus {
            ready,
            resting,
            draining,
            ..PoolStatus::default()
        }
    }

    #[test]
    fn a_pool_that_rests_counts_only_beside_a_candidate_that_serves() {
        let (up, down) = (pool(1, false, false), pool(0, false, false));
        let (resting, leaving) = (pool(0, true, false), pool(1, false, true));
        assert!(answers(&up, None) && answers(&up, Some(&down)));
        assert!(!answers(&down, None) && !answers(&down, Some(&up)));
        assert!(!answers(&leaving, None));
        assert!(answers(&resting, Some(&up)));
        for candidate in [None, Some(&down), Some(&leaving)] {
            assert!(!answers(&resting, candidate), "{candidate:?}");
        }
    }
}
