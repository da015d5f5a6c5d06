//! What a circuit went through: a short, bounded history for people and health pages.

use std::fmt;

use serde::Serialize;
use tokio::time::Instant;

use crate::mode::Mode;

/// A circuit's phase, without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Calls pass and are counted.
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
}

impl Phase {
    /// The phase's name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a circuit changed its phase.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// This many failures came in a row.
    ConsecutiveFailures(u32),
    /// Too large a share of the window's calls failed.
    FailureRate {
        /// How many failed.
        failures: u64,
        /// Out of how many.
        calls: u64,
    },
    /// Too large a share of the window's calls was slow.
    SlowCallRate {
        /// How many were slow.
        slow: u64,
        /// Out of how many.
        calls: u64,
    },
    /// The time for which the circuit stays open has passed.
    OpenTimePassed,
    /// A probe failed.
    ProbeFailed,
    /// A probe was slow, and slow calls count.
    ProbeSlow,
    /// All probes were under way for longer than a call may wait for one.
    ProbesTookTooLong,
    /// This many probes succeeded.
    ProbesSucceeded(u32),
    /// The breaker was switched off, which forgets all that it held against the callee.
    SwitchedOff,
    /// It was told to open.
    Tripped,
    /// A person, or what acts for one, took the decision from the circuit or gave it back.
    ModeSet(Mode),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::FailureRate { failures, calls } => {
                write!(f, "{failures} of {calls} calls failed")
            }
            Self::SlowCallRate { slow, calls } => write!(f, "{slow} of {calls} calls were slow"),
            Self::OpenTimePassed => f.write_str("the open time has passed"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::ProbesTookTooLong => f.write_str("all probes took too long"),
            Self::ProbesSucceeded(count) => write!(f, "{count} probes succeeded"),
            Self::SwitchedOff => f.write_str("the breaker was switched off"),
            Self::Tripped => f.write_str("it was told to open"),
            Self::ModeSet(mode) => write!(f, "the mode was set to {mode}"),
        }
    }
}

/// One change of phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// Counts up from 1 over the circuit's life, so that a reader sees whether it missed any.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
}

/// What a subscriber of a circuit is told, in the order in which it happened.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum CircuitEvent {
    /// The phase changed.
    Changed(Transition),
    /// The mode was set. Where that changes the phase, a [`CircuitEvent::Changed`] follows.
    ModeSet(Mode),
}
