//! What the lanes' circuits go through, and who decides for them.
//!
//! A circuit decides for itself, unless the flag `circuit_breaker` switches it off or a person takes one
//! lane's circuit in hand. A person's mode goes before the flag: it was said of this circuit, and the flag
//! of all of them.
//!
//! Invariants: a mode is the circuit's: it goes with its pool where that changes its lane, and ends with the
//! pool, or with this process; every change is logged, counted, and kept in a bounded list, the last ones
//! longest; a mode that a person set is in that list with who and why.

pub(crate) mod log;

use std::pin::Pin;
use std::sync::{Arc, Weak};

use dspex_breaker::{Circuit, CircuitEvent, Phase, Transition};
use dspex_flags::dspex;
use dspex_telemetry::Lane;
use futures_util::Stream;
use futures_util::stream::{SelectAll, StreamExt as _, unfold};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use dspex_breaker::Mode as CircuitMode;

use self::log::Watched;
use crate::clock;
use crate::dispatch::LaneState;
use crate::health::CircuitHealth;
use crate::router::Router;

/// Who took a circuit in hand, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InHand {
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

/// A mode that a person set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) mode: CircuitMode,
    pub(crate) by: InHand,
}

/// One thing that happened to a lane's circuit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CircuitChange {
    /// Counts up from 1 since the router was made.
    pub number: u64,
    /// When.
    pub at: jiff::Timestamp,
    /// The lane whose circuit it is.
    pub lane: Lane,
    /// What happened.
    #[serde(flatten)]
    pub what: CircuitDeed,
}

/// What happened to a circuit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum CircuitDeed {
    /// Its state changed.
    State {
        /// The state before.
        from: Phase,
        /// The state after.
        to: Phase,
        /// Why, in words.
        cause: String,
    },
    /// Somebody else decides from now on.
    Mode {
        /// Who decides: the circuit, or a mode that is set.
        mode: CircuitMode,
        /// Who set it; none where the flag `circuit_breaker` did.
        by: Option<InHand>,
    },
}

/// How often circuits of a lane have changed their state like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitTransitions {
    /// Which lane.
    pub lane: Lane,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// How often since the router was made.
    pub count: u64,
}

/// What a mode does to the calls of a lane, in one sentence.
#[must_use]
pub fn circuit_effect(lane: Lane, mode: CircuitMode) -> &'static str {
    match (mode, lane) {
        (CircuitMode::Automatic, _) => "the circuit opens and closes by what it sees",
        (CircuitMode::ForcedOpen, Lane::Candidate) => {
            "no call goes to the candidate, stable answers each of them; none counts for or against the \
             candidate, so a migration holds its stage"
        }
        // What the lane after which there is no other promises holds for a person too.
        (CircuitMode::ForcedOpen, Lane::Stable) => {
            "stable still answers while its pool has a worker, because there is no other lane to ask; no call \
             is asked again of a second worker, and without a worker calls fail at once"
        }
        (CircuitMode::MetricsOnly, _) => {
            "every call passes and is counted, and the circuit never opens"
        }
        (CircuitMode::Disabled, _) => "every call passes and nothing is counted",
    }
}

impl Router {
    /// Has a person decide for a lane's circuit, or gives it back to itself ([`CircuitMode::Automatic`],
    /// where the flag `circuit_breaker` is on). Answers how the circuit is then; none where no pool
    /// stands in that lane.
    ///
    /// The mode is held by this process alone, and ends with the lane's pool.
    pub fn set_circuit_mode(
        &self,
        lane: Lane,
        mode: CircuitMode,
        by: InHand,
    ) -> Option<CircuitHealth> {
        let changing = self.changing();
        let state = match lane {
            Lane::Stable => self.stable_lane(),
            Lane::Candidate => self.candidate_lane()?,
        };
        tracing::warn!(lane = lane.label(), %mode, who = by.who, why = by.why, "a circuit's mode is set");
        state.hold((mode != CircuitMode::Automatic).then(|| Held {
            mode,
            by: by.clone(),
        }));
        state.decide(self.served.load().enabled(&dspex::CIRCUIT_BREAKER));
        let mode = state.circuit.mode();
        let by = Some(by);
        self.circuits
            .write(lane, clock::wall(), CircuitDeed::Mode { mode, by });
        drop(changing);
        Some(CircuitHealth::of(&state, Instant::now()))
    }

    /// What happened to the lanes' circuits after the change of this number, the oldest first; the last
    /// 256 changes are kept, and none of them outlives this process.
    pub fn circuit_changes(&self, after: u64) -> Vec<Arc<CircuitChange>> {
        self.circuits.after(after)
    }

    /// The number of the newest change of a circuit, as it grows.
    pub fn watch_circuits(&self) -> watch::Receiver<u64> {
        self.circuits.newest()
    }

    /// How often the lanes' circuits have changed their states.
    pub fn circuit_transitions(&self) -> Vec<CircuitTransitions> {
        self.circuits.counts()
    }

    /// Logs, counts and keeps what the lanes' circuits say of themselves, until `stop`. Runs once:
    /// whoever comes second finds nothing to follow.
    pub async fn follow_circuits(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut watched) = self.circuits.watched() else {
            return;
        };
        let mut told: SelectAll<Told> = SelectAll::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(next) = watched.recv() => told.push(tell(next)),
                Some((circuit, lane, transition)) = told.next() => {
                    self.changed(self.lane_of(&circuit).unwrap_or(lane), &transition);
                }
            }
        }
    }

    /// A mode is as this lane's person and the flag say; what the flag changed is written down.
    pub(crate) fn decide(&self, state: &LaneState, breaker: bool) {
        if let Some(mode) = state.decide(breaker) {
            tracing::info!(lane = state.lane.label(), %mode, "the flag circuit_breaker sets a circuit's mode");
            let deed = CircuitDeed::Mode { mode, by: None };
            self.circuits.write(state.lane, clock::wall(), deed);
        }
    }

    fn changed(&self, lane: Lane, transition: &Transition) {
        let Transition {
            at,
            from,
            to,
            cause,
            ..
        } = transition;
        if *to == Phase::Open {
            tracing::warn!(lane = lane.label(), %from, %to, %cause, "a circuit opened");
        } else {
            tracing::info!(lane = lane.label(), %from, %to, %cause, "a circuit changed");
        }
        let wall = clock::wall();
        let deed = CircuitDeed::State {
            from: *from,
            to: *to,
            cause: cause.to_string(),
        };
        let at = wall.checked_sub(at.elapsed()).unwrap_or(wall);
        self.circuits.write(lane, at, deed);
    }

    /// The lane where this circuit's pool stands now; none where it has left.
    fn lane_of(&self, circuit: &Weak<Circuit>) -> Option<Lane> {
        let is = |state: &LaneState| std::ptr::eq(Arc::as_ptr(&state.circuit), circuit.as_ptr());
        if is(&self.stable_lane()) {
            return Some(Lane::Stable);
        }
        self.candidate_lane()
            .filter(|state| is(state))
            .map(|_| Lane::Candidate)
    }
}

/// The changes of one circuit's state.
type Told = Pin<Box<dyn Stream<Item = (Weak<Circuit>, Lane, Transition)> + Send>>;

/// Until the circuit is gone.
fn tell(watched: Watched) -> Told {
    let next = async |mut watched: Watched| loop {
        match watched.events.recv().await {
            Ok(CircuitEvent::Changed(transition)) => {
                let told = (Weak::clone(&watched.circuit), watched.lane, transition);
                return Some((told, watched));
            }
            // Whoever set the mode has written it down, with who and why.
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    lane = watched.lane.label(),
                    missed,
                    "changes of a circuit were missed"
                );
            }
            Err(RecvError::Closed) => return None,
        }
    };
    Box::pin(unfold(watched, next))
}
