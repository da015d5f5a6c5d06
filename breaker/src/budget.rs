//! How much more than its callers ask for a service may be asked.
//!
//! Every call puts a share of a further try into the budget, and whatever is sent beside or after
//! the first attempt draws a whole one: retries, failovers, hedges and shadow copies. So in an
//! outage, when everything would be sent twice, the load grows by the share and no more. A few tries
//! a second are always there, or a quiet service could never try twice.
//!
//! What is counted is a window of the last `window`: neither a quiet night nor a bad minute is held
//! for or against anybody for long.
//!
//! Invariants: within any window no more is drawn than its calls and its minimum allow; to count a
//! call takes no lock.

use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::InvalidConfig;
use crate::checked::checked;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time_window::TimeWindow;
use crate::window::Seen;

/// How large a budget is. What has been deserialized is valid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct BudgetConfig {
    /// Further tries for each call, 0 to 10.
    pub share: f64,
    /// Further tries a second that are there without any calls, 0 to 1,000,000.
    pub minimum_per_second: f64,
    /// How far back calls and further tries count, 100ms to 1h.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The share of the budget, 0 to 1, that only retries and failovers may draw: hedges and shadow
    /// copies make an answer faster or a comparison better, but nobody's call depends on them.
    pub kept_for_callers: f64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            share: 0.2,
            minimum_per_second: 10.0,
            window: Duration::from_secs(10),
            kept_for_callers: 0.5,
        }
    }
}

impl BudgetConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (setting, value, most, expected) in [
            ("share", self.share, 10.0, "it must be 0 to 10"),
            (
                "minimum_per_second",
                self.minimum_per_second,
                1e6,
                "it must be 0 to 1000000",
            ),
            (
                "kept_for_callers",
                self.kept_for_callers,
                1.0,
                "it must be 0 to 1",
            ),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(InvalidConfig::new(setting, &value, expected));
            }
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&self.window) {
            return Err(InvalidConfig::new(
                "window",
                &humantime::format_duration(self.window),
                "it must be 100ms to 1h",
            ));
        }
        Ok(())
    }
}

checked!(BudgetConfig);

/// What is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Draw {
    /// The same again.
    Retry,
    /// The same elsewhere, because it failed here.
    Failover,
    /// The same elsewhere, because it takes long here.
    Hedge,
    /// A copy whose answer is only looked at.
    Shadow,
}

impl Draw {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Failover, Self::Hedge, Self::Shadow];

    /// The kind's name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Failover => "failover",
            Self::Hedge => "hedge",
            Self::Shadow => "shadow",
        }
    }

    fn for_callers(self) -> bool {
        matches!(self, Self::Retry | Self::Failover)
    }
}

/// There is nothing left to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the retry budget has nothing left for a {}: too many calls fail at once", .0.name())]
pub struct Exhausted(pub Draw);

/// A budget that several callers share.
#[derive(Debug)]
pub struct RetryBudget {
    config: BudgetConfig,
    base: Instant,
    /// Calls as calls, draws as failures would let one window do; two keep drawing, which is rare and
    /// locked, apart from calling, which is not.
    calls: TimeWindow,
    drawn: Mutex<TimeWindow>,
    granted: [AtomicU64; Draw::ALL.len()],
    refused: [AtomicU64; Draw::ALL.len()],
}

/// A budget at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BudgetFigures {
    /// Calls in the window.
    pub calls: u64,
    /// Further tries in the window.
    pub drawn: u64,
    /// Further tries that a retry or a failover could draw now.
    pub left: u64,
    /// Over the budget's life, of each kind in the order of [`Draw::ALL`]: how many were granted.
    pub granted: [u64; Draw::ALL.len()],
    /// And how many were refused.
    pub refused: [u64; Draw::ALL.len()],
}

impl RetryBudget {
    /// A budget whose window begins empty.
    ///
    /// # Errors
    ///
    /// When `config` is not valid; one that was deserialized always is.
    pub fn new(config: BudgetConfig) -> Result<Self, InvalidConfig> {
        config.validate()?;
        Ok(Self::starting(config, Instant::now()))
    }

    pub(crate) fn starting(config: BudgetConfig, base: Instant) -> Self {
        let none = || std::array::from_fn(|_| AtomicU64::new(0));
        Self {
            base,
            calls: TimeWindow::new(config.window),
            drawn: Mutex::new(TimeWindow::new(config.window)),
            granted: none(),
            refused: none(),
            config,
        }
    }

    /// A call is made for the first time.
    pub fn deposit(&self, now: Instant) {
        count(&self.calls, self.nanos(now));
    }

    /// Asks for one further try.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] where the window's calls and its minimum do not allow one more.
    pub fn withdraw(&self, draw: Draw, now: Instant) -> Result<(), Exhausted> {
        let at = self.nanos(now);
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.size(at);
        let size = if draw.for_callers() {
            size
        } else {
            size * (1.0 - self.config.kept_for_callers)
        };
        let allowed = (drawn.counts(0, at).calls + 1) as f64 <= size + f64::EPSILON * size;
        if allowed {
            count(&drawn, at);
        }
        drop(drawn);
        let figures = if allowed {
            &self.granted
        } else {
            &self.refused
        };
        figures[draw as usize].fetch_add(1, Ordering::Relaxed);
        if allowed {
            Ok(())
        } else {
            Err(Exhausted(draw))
        }
    }

    /// The budget's settings.
    #[must_use]
    pub fn config(&self) -> &BudgetConfig {
        &self.config
    }

    /// The budget at `now`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a try is none, and a negative number of them neither"
    )]
    pub fn figures(&self, now: Instant) -> BudgetFigures {
        let at = self.nanos(now);
        let drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let drawn = drawn.counts(0, at).calls;
        let read = |all: &[AtomicU64; Draw::ALL.len()]| {
            std::array::from_fn(|kind| all[kind].load(Ordering::Relaxed))
        };
        BudgetFigures {
            calls: self.calls.counts(0, at).calls,
            drawn,
            left: (self.size(at) - drawn as f64).max(0.0) as u64,
            granted: read(&self.granted),
            refused: read(&self.refused),
        }
    }

    /// How many further tries the window may hold.
    fn size(&self, at: u64) -> f64 {
        let calls = self.calls.counts(0, at).calls as f64;
        calls * self.config.share
            + self.config.minimum_per_second * self.config.window.as_secs_f64()
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.base);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

fn count(window: &TimeWindow, at: u64) {
    let seen = Seen {
        failed: false,
        slow: false,
    };
    // A budget has one term.
    window.record(0, at, seen, || true);
}
