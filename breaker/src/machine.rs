//! The circuit's inside: one word that says whether calls pass, and a lock for all that is rare.
//!
//! While the circuit is closed a call costs three loads and one exchange: the word when it asks, the
//! word, a bucket and the row when it reports. The lock is taken to change the phase, and for the few
//! calls that pass as probes.
//!
//! These few steps are always inlined: a call of its own for each costs as much as all of them. What is
//! rare is kept out of them.
//!
//! A *term* is the time between two changes of the word, and has a number. A permit carries the word
//! as it was given; a report whose word is not the present one is of a term that has passed.
//!
//! Invariants:
//! - At most `half_open_max` probes of one term are under way.
//! - The word is written under the lock only, so whoever holds the lock knows the term.
//! - What a permit reports counts only in the term in which it was given.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::chance::scrambled;
use crate::config::CircuitConfig;
use crate::mode::Mode;
use crate::rare::{
    self, CLOSED, DISABLED, FORCED_OPEN, GATE, GATE_BITS, HALF_OPEN, METRICS_ONLY, OPEN, Rare,
    State,
};
use crate::row::Row;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use crate::transition::{Cause, CircuitEvent, Transition};
use crate::window::{Counts, Seen, Window};

/// When a caller that found all probes taken should come back, unless the circuit opens for
/// shorter than that.
const PROBE_RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Machine {
    config: CircuitConfig,
    /// From here nanoseconds are counted.
    base: Instant,
    /// The term's number and its gate.
    word: AtomicU64,
    /// When the open circuit lets probes through, in nanoseconds. Written before the word.
    until: AtomicU64,
    window: Window,
    row: Row,
    rare: Mutex<Rare>,
    events: broadcast::Sender<CircuitEvent>,
}

/// What the next call would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlook {
    Closed,
    Open(Option<Instant>),
    HalfOpen,
}

/// The circuit's word as it was when a call was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given(u64);

impl Machine {
    /// A closed circuit; `config` must be valid.
    pub(crate) fn new(config: CircuitConfig, base: Instant) -> Self {
        Self {
            base,
            word: AtomicU64::new(CLOSED),
            until: AtomicU64::new(0),
            window: Window::new(config.window, config.window_calls),
            row: Row::new(),
            rare: Mutex::new(Rare::new()),
            events: broadcast::Sender::new(rare::HISTORY),
            config,
        }
    }

    pub(crate) fn config(&self) -> &CircuitConfig {
        &self.config
    }

    /// Leave to make a call, or after what time to ask again.
    #[inline(always)]
    pub(crate) fn permit(&self, now: Instant) -> Result<Given, Duration> {
        let word = self.word.load(Ordering::Acquire);
        match word & GATE {
            CLOSED | METRICS_ONLY | DISABLED => return Ok(Given(word)),
            FORCED_OPEN => return Err(self.config.open_for),
            OPEN => {
                // Of this term or of a later one: either is an answer to a call that asks now.
                let until = self.until.load(Ordering::Acquire);
                let left = until.saturating_sub(self.nanos(now));
                if left > 0 {
                    return Err(Duration::from_nanos(left));
                }
            }
            _ => {}
        }
        self.permit_probe(now)
    }

    #[cold]
    fn permit_probe(&self, now: Instant) -> Result<Given, Duration> {
        let mut rare = self.lock();
        if matches!(rare.state, State::Open(Some(until)) if until <= now) {
            let probing = State::HalfOpen {
                under_way: 0,
                succeeded: 0,
                last_given: now,
            };
            self.change(&mut rare, probing, now, Cause::OpenTimePassed);
        }
        match &mut rare.state {
            State::Closed => {}
            State::Open(Some(until)) => return Err(until.saturating_duration_since(now)),
            State::Open(None) => return Err(self.config.open_for),
            State::HalfOpen {
                under_way,
                last_given,
                ..
            } => {
                if *under_way < self.config.half_open_max {
                    *under_way += 1;
                    *last_given = now;
                } else if now.saturating_duration_since(*last_given)
                    >= self.config.half_open_max_wait
                {
                    // Every place is taken by a probe that has been under way for too long.
                    let wait = self.open(&mut rare, now, Cause::ProbesTookTooLong);
                    return Err(wait);
                } else {
                    return Err(self.config.open_for.min(PROBE_RETRY));
                }
            }
        }
        Ok(Given(rare.word()))
    }

    /// A call ended, and says something about the callee.
    #[inline(always)]
    pub(crate) fn report(&self, given: Given, begun: Instant, now: Instant, failed: bool) {
        let slow = self.config.slow_call_rate.is_some()
            && now.saturating_duration_since(begun) >= self.config.slow_call;
        let seen = Seen { failed, slow };
        match given.0 & GATE {
            CLOSED | METRICS_ONLY => self.report_counted(given, now, seen),
            HALF_OPEN => self.report_probe(given, now, seen),
            _ => {}
        }
    }

    #[inline(always)]
    fn report_counted(&self, given: Given, now: Instant, seen: Seen) {
        let still = || self.word.load(Ordering::Acquire) == given.0;
        if !still() {
            return;
        }
        let term = given.0 >> GATE_BITS;
        // A window of calls asks for no time, and to work it out costs a fifth of all the rest.
        let at = if self.window.is_timed() {
            self.nanos(now)
        } else {
            0
        };
        self.window.record(term, at, seen, still);
        let row = if seen.failed {
            self.row.grow(term, still)
        } else {
            self.row.end(term);
            0
        };
        // A success may complete the minimum of calls, but only opens the circuit if it was slow: a
        // callee that has just answered well gets one more chance.
        if (seen.failed || seen.slow) && given.0 & GATE == CLOSED {
            self.judge(given, row, seen, now);
        }
    }

    /// Opens the circuit where what was just counted asks for it.
    #[cold]
    fn judge(&self, given: Given, row: u32, seen: Seen, now: Instant) {
        let (term, at) = (given.0 >> GATE_BITS, self.nanos(now));
        let Some(cause) = self.verdict(row, seen, self.window.counts(term, at)) else {
            return;
        };
        let mut rare = self.lock();
        if rare.word() == given.0 {
            self.open(&mut rare, now, cause);
        }
    }

    /// Why the circuit should open, if it should.
    fn verdict(&self, row: u32, seen: Seen, counts: Counts) -> Option<Cause> {
        let Counts {
            calls,
            failures,
            slow,
        } = counts;
        let config = &self.config;
        if row >= config.consecutive_failures {
            return Some(Cause::ConsecutiveFailures(row));
        }
        if calls == 0 || calls < u64::from(config.minimum_calls) {
            return None;
        }
        let share = |part: u64| part as f64 / calls as f64;
        if seen.failed && share(failures) >= config.failure_rate {
            return Some(Cause::FailureRate { failures, calls });
        }
        match config.slow_call_rate {
            Some(rate) if seen.slow && share(slow) >= rate => {
                Some(Cause::SlowCallRate { slow, calls })
            }
            _ => None,
        }
    }

    #[cold]
    fn report_probe(&self, given: Given, now: Instant, seen: Seen) {
        let mut rare = self.lock();
        if rare.word() != given.0 {
            return;
        }
        let State::HalfOpen {
            under_way,
            succeeded,
            ..
        } = &mut rare.state
        else {
            return;
        };
        *under_way -= 1;
        if seen.failed || seen.slow {
            let cause = if seen.failed {
                Cause::ProbeFailed
            } else {
                Cause::ProbeSlow
            };
            self.open(&mut rare, now, cause);
            return;
        }
        *succeeded += 1;
        if *succeeded >= self.config.close_after {
            let cause = Cause::ProbesSucceeded(*succeeded);
            self.change(&mut rare, State::Closed, now, cause);
        }
    }

    /// A call ended without saying anything about the callee.
    #[inline]
    pub(crate) fn give_back(&self, given: Given) {
        if given.0 & GATE == HALF_OPEN {
            self.give_back_probe(given);
        }
    }

    #[cold]
    fn give_back_probe(&self, given: Given) {
        let mut rare = self.lock();
        if rare.word() != given.0 {
            return;
        }
        if let State::HalfOpen { under_way, .. } = &mut rare.state {
            *under_way -= 1;
        }
    }

    /// Opens the circuit where it decides for itself and is not open.
    pub(crate) fn trip(&self, now: Instant) {
        let mut rare = self.lock();
        if rare.mode == Mode::Automatic && !matches!(rare.state, State::Open(_)) {
            self.open(&mut rare, now, Cause::Tripped);
        }
    }

    /// What a call at `now` would find. Looking changes nothing.
    pub(crate) fn outlook(&self, now: Instant) -> Outlook {
        match self.lock().state {
            State::Closed => Outlook::Closed,
            State::Open(Some(until)) if until <= now => Outlook::HalfOpen,
            State::Open(until) => Outlook::Open(until),
            State::HalfOpen { .. } => Outlook::HalfOpen,
        }
    }

    /// What was counted in this term.
    pub(crate) fn counts(&self, now: Instant) -> Counts {
        self.window.counts(self.term(), self.nanos(now))
    }

    /// How many calls of this term have failed in a row.
    pub(crate) fn failed_in_a_row(&self) -> u32 {
        self.row.length(self.term())
    }

    fn term(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> GATE_BITS
    }

    pub(crate) fn mode(&self) -> Mode {
        self.lock().mode
    }

    /// Sets the mode, where `allowed` of the present one; whatever was counted is forgotten.
    pub(crate) fn set_mode(&self, mode: Mode, now: Instant, allowed: impl Fn(Mode) -> bool) {
        let mut rare = self.lock();
        if rare.mode == mode || !allowed(rare.mode) {
            return;
        }
        rare.mode = mode;
        let _ = self.events.send(CircuitEvent::ModeSet(mode));
        let state = if mode == Mode::ForcedOpen {
            State::Open(None)
        } else {
            State::Closed
        };
        if rare.state.phase() == state.phase() {
            // Permits from before are about calls from before.
            rare.term += 1;
            rare.state = state;
            self.publish(&rare);
        } else {
            let cause = match mode {
                Mode::Disabled => Cause::SwitchedOff,
                mode => Cause::ModeSet(mode),
            };
            self.change(&mut rare, state, now, cause);
        }
    }

    pub(crate) fn transitions(&self) -> Vec<Transition> {
        self.lock().history.iter().copied().collect()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<CircuitEvent> {
        self.events.subscribe()
    }

    /// Opens the circuit, and says for how long.
    fn open(&self, rare: &mut Rare, now: Instant, cause: Cause) -> Duration {
        rare.opened = rare.opened.saturating_add(1);
        rare.chance = scrambled(rare.chance);
        let wait = self.config.open_time(rare.opened, rare.chance);
        self.change(rare, State::Open(Some(now + wait)), now, cause);
        wait
    }

    fn change(&self, rare: &mut Rare, to: State, at: Instant, cause: Cause) {
        rare.term += 1;
        let transition = rare.remember(to, at, cause);
        if matches!(to, State::Closed) {
            rare.opened = 0;
        }
        rare.state = to;
        self.publish(rare);
        // Nobody listening is no fault.
        let _ = self.events.send(CircuitEvent::Changed(transition));
    }

    fn publish(&self, rare: &Rare) {
        if let State::Open(Some(until)) = rare.state {
            self.until.store(self.nanos(until), Ordering::Release);
        }
        self.word.store(rare.word(), Ordering::Release);
    }

    #[inline]
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        // Five centuries fit.
        since
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::from(since.subsec_nanos()))
    }

    fn lock(&self) -> MutexGuard<'_, Rare> {
        // Nothing panics while it holds the lock, and if it did, the counters would still be
        // usable: refusing every call from then on would be worse.
        self.rare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
