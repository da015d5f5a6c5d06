//! The circuit breaker: lets calls through while they mostly succeed, refuses them for a while
//! when they do not, then probes.
//!
//! Invariants:
//! - While half-open, at most `half_open_max` permits are under way, and a permit that is dropped
//!   gives its place back: a cancelled call cannot leave the circuit stuck.
//! - What a permit reports counts only in the phase in which it was given. A call that began while
//!   the circuit was closed and fails after it opened must not fail a later probe.
//! - No lock is held across an await; nothing here awaits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::window::Window;
use crate::{Cause, CircuitConfig, InvalidConfig, Phase, Refused, Transition};

/// How many transitions are remembered.
const HISTORY: usize = 32;

/// When a caller that found all probes taken should come back, unless the circuit opens for
/// shorter than that.
const PROBE_RETRY: Duration = Duration::from_secs(1);

/// A circuit breaker. A clone is another handle on the same circuit.
#[derive(Debug, Clone)]
pub struct Circuit {
    shared: Arc<Shared>,
}

/// What a circuit does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls pass and are counted.
    Closed,
    /// No call passes before `until`.
    Open {
        /// When probes begin.
        until: Instant,
    },
    /// A few calls pass as probes.
    HalfOpen,
}

impl CircuitState {
    /// The state's name: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.phase().name()
    }

    /// The state without its details.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Closed => Phase::Closed,
            Self::Open { .. } => Phase::Open,
            Self::HalfOpen => Phase::HalfOpen,
        }
    }
}

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    config: CircuitConfig,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    enabled: bool,
    state: State,
    /// Grows with every change of phase; a permit carries the one it was given in.
    generation: u64,
    history: VecDeque<Transition>,
}

#[derive(Debug)]
enum State {
    Closed {
        window: Box<Window>,
        consecutive: u32,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        under_way: u32,
        succeeded: u32,
    },
}

impl Circuit {
    /// A closed circuit. The name is for errors, logs and metrics.
    ///
    /// # Errors
    ///
    /// When `config` is not valid; one that was deserialized always is.
    pub fn new(name: impl Into<Arc<str>>, config: CircuitConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let inner = Inner {
            enabled: true,
            state: closed(&config),
            generation: 0,
            history: VecDeque::with_capacity(HISTORY),
        };
        let shared = Shared {
            name: name.into(),
            config,
            inner: Mutex::new(inner),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The circuit's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The circuit's settings.
    #[must_use]
    pub fn config(&self) -> &CircuitConfig {
        &self.shared.config
    }

    /// Asks to let a call through. Report on the permit how the call went; dropping it unreported
    /// says that nothing was learnt.
    ///
    /// # Errors
    ///
    /// While the circuit is open, and while it is half-open and all probes are under way.
    pub fn try_permit(&self, now: Instant) -> Result<Permit, Refused> {
        let mut inner = self.shared.lock();
        if inner.enabled {
            if matches!(inner.state, State::Open { until } if until <= now) {
                let probing = State::HalfOpen {
                    under_way: 0,
                    succeeded: 0,
                };
                inner.change(probing, now, Cause::OpenTimePassed);
            }
            let config = &self.shared.config;
            match &mut inner.state {
                State::Closed { .. } => {}
                State::Open { until } => {
                    return Err(self.refused(until.saturating_duration_since(now)));
                }
                State::HalfOpen { under_way, .. } if *under_way >= config.half_open_max => {
                    return Err(self.refused(config.open_for.min(PROBE_RETRY)));
                }
                State::HalfOpen { under_way, .. } => *under_way += 1,
            }
        }
        let generation = inner.generation;
        drop(inner);
        Ok(Permit {
            shared: Arc::clone(&self.shared),
            generation,
            reported: false,
        })
    }

    /// What the circuit would do with a call at `now`. Looking changes nothing.
    #[must_use]
    pub fn state(&self, now: Instant) -> CircuitState {
        match self.shared.lock().state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if until <= now => CircuitState::HalfOpen,
            State::Open { until } => CircuitState::Open { until },
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Switches the breaker on or off. While it is off every call is permitted and nothing is
    /// counted; switching it off closes the circuit, and it begins closed and empty when it is
    /// switched on again.
    pub fn set_enabled(&self, enabled: bool) {
        let mut inner = self.shared.lock();
        if inner.enabled == enabled {
            return;
        }
        inner.enabled = enabled;
        let fresh = closed(&self.shared.config);
        if matches!(inner.state, State::Closed { .. }) {
            inner.state = fresh;
            // Permits from before the switch are about calls from before the switch.
            inner.generation += 1;
        } else {
            inner.change(fresh, Instant::now(), Cause::SwitchedOff);
        }
    }

    /// Whether the breaker is switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.lock().enabled
    }

    /// The last changes of phase, oldest first, at most 32.
    #[must_use]
    pub fn transitions(&self) -> Vec<Transition> {
        self.shared.lock().history.iter().copied().collect()
    }

    fn refused(&self, retry_after: Duration) -> Refused {
        Refused {
            circuit: Arc::clone(&self.shared.name),
            retry_after,
        }
    }
}

/// Leave to make one call. Consume it with how the call went; a drop is [`neutral`](Self::neutral).
#[derive(Debug)]
#[must_use = "a permit that is dropped at once says nothing about the call"]
pub struct Permit {
    shared: Arc<Shared>,
    generation: u64,
    reported: bool,
}

impl Permit {
    /// The call succeeded.
    pub fn success(mut self, now: Instant) {
        self.reported = true;
        self.shared.succeeded(self.generation, now);
    }

    /// The call failed, and it was the callee's fault.
    pub fn failure(mut self, now: Instant) {
        self.reported = true;
        self.shared.failed(self.generation, now);
    }

    /// The call says nothing about the callee: it was never made, was cancelled, or failed by the
    /// fault of somebody else.
    pub fn neutral(self) {
        drop(self);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.reported {
            self.shared.learnt_nothing(self.generation);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock, and if it did, the counters would still be
        // usable: refusing every call from then on would be worse.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, generation: u64, now: Instant) {
        let mut inner = self.lock();
        if !inner.counts(generation) {
            return;
        }
        match &mut inner.state {
            State::Closed {
                window,
                consecutive,
            } => {
                // A success may complete the minimum of calls, but never opens the circuit: a
                // callee that has just answered well gets one more chance.
                *consecutive = 0;
                window.record(now, false);
            }
            State::HalfOpen {
                under_way,
                succeeded,
            } => {
                *under_way -= 1;
                *succeeded += 1;
                if *succeeded >= self.config.close_after {
                    let cause = Cause::ProbesSucceeded(*succeeded);
                    inner.change(closed(&self.config), now, cause);
                }
            }
            State::Open { .. } => {}
        }
    }

    fn failed(&self, generation: u64, now: Instant) {
        let mut inner = self.lock();
        if !inner.counts(generation) {
            return;
        }
        let cause = match &mut inner.state {
            State::Closed {
                window,
                consecutive,
            } => {
                *consecutive += 1;
                window.record(now, true);
                let counts = window.counts(now);
                let rate = counts.failures as f64 / counts.calls as f64;
                if *consecutive >= self.config.consecutive_failures {
                    Some(Cause::ConsecutiveFailures(*consecutive))
                } else if counts.calls >= u64::from(self.config.minimum_calls)
                    && rate >= self.config.failure_rate
                {
                    Some(Cause::FailureRate {
                        failures: counts.failures,
                        calls: counts.calls,
                    })
                } else {
                    None
                }
            }
            State::HalfOpen { .. } => Some(Cause::ProbeFailed),
            State::Open { .. } => None,
        };
        if let Some(cause) = cause {
            inner.change(
                State::Open {
                    until: now + self.config.open_for,
                },
                now,
                cause,
            );
        }
    }

    fn learnt_nothing(&self, generation: u64) {
        let mut inner = self.lock();
        if !inner.counts(generation) {
            return;
        }
        if let State::HalfOpen { under_way, .. } = &mut inner.state {
            *under_way -= 1;
        }
    }
}

impl Inner {
    /// Whether a report of a permit from `generation` is about the present phase.
    fn counts(&self, generation: u64) -> bool {
        self.enabled && self.generation == generation
    }

    fn change(&mut self, to: State, at: Instant, cause: Cause) {
        self.generation += 1;
        let number = self.history.back().map_or(1, |last| last.number + 1);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let (from, to_phase) = (self.state.phase(), to.phase());
        self.history.push_back(Transition {
            number,
            at,
            from,
            to: to_phase,
            cause,
        });
        self.state = to;
    }
}

impl State {
    fn phase(&self) -> Phase {
        match self {
            Self::Closed { .. } => Phase::Closed,
            Self::Open { .. } => Phase::Open,
            Self::HalfOpen { .. } => Phase::HalfOpen,
        }
    }
}

fn closed(config: &CircuitConfig) -> State {
    State::Closed {
        window: Box::new(Window::new(config.window)),
        consecutive: 0,
    }
}
