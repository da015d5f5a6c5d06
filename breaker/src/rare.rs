//! What a circuit keeps behind its lock, and the word that says the most needed part of it to calls
//! that take none.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use tokio::time::Instant;

use crate::mode::Mode;
use crate::transition::{Cause, Phase, Transition};

/// How many transitions are remembered, and how many events a slow subscriber may be behind.
pub(crate) const HISTORY: usize = 32;

/// The gates, in the low bits of the word.
pub(crate) const GATE_BITS: u32 = 3;
pub(crate) const GATE: u64 = (1 << GATE_BITS) - 1;
pub(crate) const CLOSED: u64 = 0;
pub(crate) const OPEN: u64 = 1;
pub(crate) const HALF_OPEN: u64 = 2;
pub(crate) const FORCED_OPEN: u64 = 3;
pub(crate) const METRICS_ONLY: u64 = 4;
pub(crate) const DISABLED: u64 = 5;

#[derive(Debug)]
pub(crate) struct Rare {
    pub(crate) mode: Mode,
    pub(crate) state: State,
    pub(crate) term: u64,
    pub(crate) history: VecDeque<Transition>,
    /// How often it has opened since it was last closed.
    pub(crate) opened: u32,
    /// Where the chance of the next open time comes from.
    pub(crate) chance: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    Closed,
    /// None: until a person says otherwise.
    Open(Option<Instant>),
    HalfOpen {
        under_way: u32,
        succeeded: u32,
        last_given: Instant,
    },
}

impl Rare {
    pub(crate) fn new() -> Self {
        Self {
            mode: Mode::Automatic,
            state: State::Closed,
            term: 0,
            history: VecDeque::with_capacity(HISTORY),
            opened: 0,
            chance: RandomState::new().hash_one(0),
        }
    }

    /// Writes a change into the history, and answers it.
    pub(crate) fn remember(&mut self, to: State, at: Instant, cause: Cause) -> Transition {
        let number = self.history.back().map_or(1, |last| last.number + 1);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let transition = Transition {
            number,
            at,
            from: self.state.phase(),
            to: to.phase(),
            cause,
        };
        self.history.push_back(transition);
        transition
    }

    /// The word that goes with all this.
    pub(crate) fn word(&self) -> u64 {
        let gate = match (self.mode, self.state) {
            (Mode::Disabled, _) => DISABLED,
            (Mode::MetricsOnly, _) => METRICS_ONLY,
            (Mode::ForcedOpen, _) => FORCED_OPEN,
            (Mode::Automatic, State::Closed) => CLOSED,
            (Mode::Automatic, State::Open(_)) => OPEN,
            (Mode::Automatic, State::HalfOpen { .. }) => HALF_OPEN,
        };
        self.term << GATE_BITS | gate
    }
}

impl State {
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Self::Closed => Phase::Closed,
            Self::Open(_) => Phase::Open,
            Self::HalfOpen { .. } => Phase::HalfOpen,
        }
    }
}
