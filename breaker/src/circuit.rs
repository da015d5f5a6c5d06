//! The circuit breaker: lets calls through while they mostly succeed, refuses them for a while
//! when they do not, then probes.
//!
//! Invariants:
//! - While half-open, at most `half_open_max` permits are under way, and a permit that is dropped
//!   gives its place back: a cancelled call cannot leave the circuit stuck. One that is neither
//!   dropped nor reported holds it no longer than `half_open_max_wait`.
//! - What a permit reports counts only in the phase in which it was given. A call that began while
//!   the circuit was closed and fails after it opened must not fail a later probe.
//! - A closed circuit takes no lock (see `machine`), and none is held across an await.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::machine::{Given, Machine, Outlook};
use crate::{
    CircuitConfig, CircuitEvent, Counts, InvalidConfig, Mode, Note, Phase, Refused, Transition,
};

/// How far away the end of a circuit is that a person holds open.
const NO_END: Duration = Duration::from_secs(86_400 * 365);

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
        /// When probes begin; a year away where a person holds the circuit open.
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
    machine: Machine,
}

impl Circuit {
    /// A closed circuit. The name is for errors, logs and metrics.
    ///
    /// # Errors
    ///
    /// When `config` is not valid; one that was deserialized always is.
    pub fn new(name: impl Into<Arc<str>>, config: CircuitConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Shared {
            name: name.into(),
            machine: Machine::new(config, Instant::now()),
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
        self.shared.machine.config()
    }

    /// Asks to let a call through. Report on the permit how the call went; dropping it unreported
    /// says that nothing was learnt.
    ///
    /// # Errors
    ///
    /// While the circuit is open, and while it is half-open and all probes are under way.
    #[inline(always)]
    pub fn try_permit(&self, now: Instant) -> Result<Permit, Refused> {
        match self.shared.machine.permit(now) {
            Ok(given) => Ok(Permit {
                shared: Arc::clone(&self.shared),
                asked: Asked::new(given, now),
            }),
            Err(retry_after) => Err(self.refused(retry_after)),
        }
    }

    /// As [`try_permit`](Self::try_permit), with a permit that borrows the circuit.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn try_borrow(&self, now: Instant) -> Result<BorrowedPermit<'_>, Refused> {
        match self.shared.machine.permit(now) {
            Ok(given) => Ok(BorrowedPermit {
                machine: &self.shared.machine,
                asked: Asked::new(given, now),
            }),
            Err(retry_after) => Err(self.refused(retry_after)),
        }
    }

    #[cold]
    fn refused(&self, retry_after: Duration) -> Refused {
        Refused {
            circuit: Arc::clone(&self.shared.name),
            retry_after,
        }
    }

    /// What the circuit would do with a call at `now`. Looking changes nothing.
    #[must_use]
    pub fn state(&self, now: Instant) -> CircuitState {
        match self.shared.machine.outlook(now) {
            Outlook::Closed => CircuitState::Closed,
            Outlook::HalfOpen => CircuitState::HalfOpen,
            Outlook::Open(until) => CircuitState::Open {
                until: until.unwrap_or(now + NO_END),
            },
        }
    }

    /// What the window holds at `now`. Empty while the circuit is open, half-open or disabled.
    #[must_use]
    pub fn counts(&self, now: Instant) -> Counts {
        self.shared.machine.counts(now)
    }

    /// How many of the last calls have failed in a row.
    #[must_use]
    pub fn failed_in_a_row(&self) -> u32 {
        self.shared.machine.failed_in_a_row()
    }

    /// Opens the circuit at once, as a failure beyond its limits would: it probes after its open
    /// time. One that is open, or does not decide for itself, stays as it is.
    pub fn trip(&self, now: Instant) {
        self.shared.machine.trip(now);
    }

    /// Who decides whether calls pass.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.machine.mode()
    }

    /// Says who decides from now on. Every change forgets what was counted: a circuit that is given
    /// back to itself begins closed and empty.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.machine.set_mode(mode, Instant::now(), |_| true);
    }

    /// Switches the breaker on or off: [`Mode::Disabled`] and back to [`Mode::Automatic`]. To switch
    /// on a circuit that is not switched off changes nothing, so it ends no mode that a person set.
    pub fn set_enabled(&self, enabled: bool) {
        let machine = &self.shared.machine;
        if enabled {
            let off = |mode| mode == Mode::Disabled;
            machine.set_mode(Mode::Automatic, Instant::now(), off);
        } else {
            machine.set_mode(Mode::Disabled, Instant::now(), |_| true);
        }
    }

    /// Whether the breaker is switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.mode() != Mode::Disabled
    }

    /// The last changes of phase, oldest first, at most 32.
    #[must_use]
    pub fn transitions(&self) -> Vec<Transition> {
        self.shared.machine.transitions()
    }

    /// Every change from now on, in order. A subscriber that is more than 32 events behind loses
    /// the oldest and is told how many.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<CircuitEvent> {
        self.shared.machine.subscribe()
    }
}

/// Leave to make one call. Consume it with how the call went; a drop is [`neutral`](Self::neutral).
#[derive(Debug)]
#[must_use = "a permit that is dropped at once says nothing about the call"]
pub struct Permit {
    shared: Arc<Shared>,
    asked: Asked,
}

/// A [`Permit`] that borrows its circuit, for calls that do not outlive it: to count the handles on a
/// circuit costs as much as all the rest.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once says nothing about the call"]
pub struct BorrowedPermit<'a> {
    machine: &'a Machine,
    asked: Asked,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    given: Given,
    begun: Instant,
    reported: bool,
}

impl Asked {
    #[inline]
    fn new(given: Given, begun: Instant) -> Self {
        Self {
            given,
            begun,
            reported: false,
        }
    }
}

/// The reports, which are the same for both kinds of permit.
macro_rules! reports {
    ($permit:ident, $machine:expr) => {
        /// The call succeeded.
        #[inline(always)]
        pub fn success(self, now: Instant) {
            self.report(now, false);
        }

        /// The call failed, and it was the callee's fault.
        #[inline]
        pub fn failure(self, now: Instant) {
            self.report(now, true);
        }

        /// The call says nothing about the callee: it was never made, was cancelled, or failed by
        /// the fault of somebody else.
        pub fn neutral(self) {
            drop(self);
        }

        /// The call went like this.
        #[inline]
        pub fn note(self, note: Note, now: Instant) {
            match note {
                Note::Success => self.success(now),
                Note::Failure => self.failure(now),
                Note::Neutral => self.neutral(),
            }
        }

        #[inline(always)]
        fn report(mut self, now: Instant, failed: bool) {
            self.asked.reported = true;
            let Asked { given, begun, .. } = self.asked;
            let $permit = &self;
            $machine.report(given, begun, now, failed);
        }
    };
}

impl Permit {
    reports!(permit, permit.shared.machine);
}

impl BorrowedPermit<'_> {
    reports!(permit, permit.machine);
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.asked.reported {
            self.shared.machine.give_back(self.asked.given);
        }
    }
}

impl Drop for BorrowedPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.asked.reported {
            self.machine.give_back(self.asked.given);
        }
    }
}
