//! From an error to what is done about it.
//!
//! A [`Recovery`] takes an error's class, looks its rule up in the matrix, and answers with the next
//! [`Action`]. It performs nothing: whoever asked does, and says how it went. What is being recovered
//! at present, and how the last recoveries ended, can be looked at.
//!
//! Invariants: a recovery ends once, also where its owner is dropped; its deadline counts from its
//! beginning and is that of the gravest failure it has seen; both lists are bounded, and a recovery
//! beyond the bound is served like any other but not listed.

mod config;
mod record;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

pub use self::config::{Deadlines, RecoveryConfig};
pub use self::record::{Attempted, Outcome, RecoveryFigures};
use crate::chance::scrambled;
use crate::{Draw, ErrorClass, InvalidConfig, RetryBudget, Strategy};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Try the same again, after this wait.
    Retry {
        /// How long to wait.
        after: Duration,
    },
    /// Ask elsewhere, at once.
    FailOver,
    /// Open the circuit and answer the caller with the error.
    Trip,
    /// Answer the caller with the error.
    Abandon(Why),
}

/// Why nothing more is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The class's rule says so.
    Rule,
    /// As often as the rule allows was tried.
    RetriesUsedUp,
    /// The next try would begin after the severity's deadline.
    DeadlinePassed,
    /// The retry budget had nothing left.
    BudgetExhausted,
}

/// Decides what is done about errors, and keeps account of it. A clone is another handle on it.
#[derive(Debug, Clone)]
pub struct Recovery {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    config: RecoveryConfig,
    budget: Arc<RetryBudget>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    begun: u64,
    under_way: u64,
    ended: [u64; Outcome::ALL.len()],
    active: Vec<Attempted>,
    recent: VecDeque<Attempted>,
}

impl Recovery {
    /// A recovery whose further tries draw from `budget`.
    ///
    /// # Errors
    ///
    /// When `config` is not valid; one that was deserialized always is.
    pub fn new(
        name: impl Into<Arc<str>>,
        config: RecoveryConfig,
        budget: Arc<RetryBudget>,
    ) -> Result<Self, InvalidConfig> {
        config.validate()?;
        let shared = Shared {
            name: name.into(),
            config,
            budget,
            book: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// A call named `subject` failed with an error of `class`. Ask [`Recovering::next`] what to do.
    pub fn begin(
        &self,
        subject: impl Into<Arc<str>>,
        class: ErrorClass,
        now: Instant,
    ) -> Recovering {
        let mut book = self.shared.book();
        book.begun += 1;
        book.under_way += 1;
        let attempted = Attempted {
            number: book.begun,
            subject: subject.into(),
            class,
            severity: self.shared.config.matrix.lookup(class).severity,
            begun: now,
            tries: 0,
            last: None,
            outcome: None,
            ended: None,
        };
        if book.active.len() < self.shared.config.listed {
            book.active.push(attempted.clone());
        }
        drop(book);
        Recovering {
            shared: Arc::clone(&self.shared),
            attempted,
            failed_before: 0,
            chance: RandomState::new().hash_one(0),
        }
    }

    /// What is under way, what has ended, and how it ended.
    #[must_use]
    pub fn figures(&self) -> RecoveryFigures {
        let book = self.shared.book();
        RecoveryFigures {
            name: Arc::clone(&self.shared.name),
            begun: book.begun,
            under_way: book.under_way,
            ended: book.ended,
            active: book.active.clone(),
            recent: book.recent.iter().cloned().collect(),
        }
    }

    /// The matrix and the deadlines.
    #[must_use]
    pub fn config(&self) -> &RecoveryConfig {
        &self.shared.config
    }
}

/// One recovery that is under way. Dropped, its caller has left.
#[derive(Debug)]
#[must_use = "a recovery that is dropped at once was abandoned by its caller"]
pub struct Recovering {
    shared: Arc<Shared>,
    attempted: Attempted,
    /// How many tries were made when the class was met first.
    failed_before: u32,
    chance: u64,
}

impl Recovering {
    /// What to do now. Draws from the budget where the answer is another try.
    pub fn next(&mut self, now: Instant) -> Action {
        let action = self.decide(now);
        if matches!(action, Action::Retry { .. } | Action::FailOver) {
            self.attempted.tries += 1;
        }
        self.attempted.last = Some(action);
        self.note();
        action
    }

    /// What was tried failed too, with an error of this class. Ask [`Recovering::next`] again.
    ///
    /// The rule is the new class's; tries that were made for another class count against the
    /// deadline and not against its retries.
    pub fn failed(&mut self, class: ErrorClass) {
        if class != self.attempted.class {
            self.failed_before = self.attempted.tries;
            self.attempted.class = class;
        }
        let severity = self.shared.config.matrix.lookup(class).severity;
        self.attempted.severity = self.attempted.severity.max(severity);
        self.note();
    }

    /// What was tried succeeded.
    pub fn recovered(mut self, now: Instant) {
        self.end(Outcome::Recovered, now);
    }

    /// The caller was answered with the error.
    pub fn gave_up(mut self, now: Instant) {
        let outcome = if self.attempted.last == Some(Action::Trip) {
            Outcome::Tripped
        } else {
            Outcome::Abandoned
        };
        self.end(outcome, now);
    }

    fn decide(&mut self, now: Instant) -> Action {
        let shared = Arc::clone(&self.shared);
        let rule = shared.config.matrix.lookup(self.attempted.class);
        let tried = self.attempted.tries - self.failed_before;
        if rule.strategy == Strategy::Abandon {
            return Action::Abandon(Why::Rule);
        }
        // A class that breaks the circuit is tried as often as its rule says, and trips it then.
        let over = |why| match rule.strategy {
            Strategy::CircuitBreak => Action::Trip,
            _ => Action::Abandon(why),
        };
        if tried >= rule.retries {
            return over(Why::RetriesUsedUp);
        }
        let after = match rule.strategy {
            Strategy::ImmediateRetry | Strategy::Failover => Duration::ZERO,
            _ => {
                self.chance = scrambled(self.chance);
                rule.backoff.jittered(tried + 1, self.chance)
            }
        };
        let within = shared.config.deadlines.of(self.attempted.severity);
        if now + after > self.attempted.begun + within {
            return over(Why::DeadlinePassed);
        }
        let (draw, action) = match rule.strategy {
            Strategy::Failover => (Draw::Failover, Action::FailOver),
            _ => (Draw::Retry, Action::Retry { after }),
        };
        match shared.budget.withdraw(draw, now) {
            Ok(()) => action,
            Err(_) => over(Why::BudgetExhausted),
        }
    }

    /// Brings the list of what is under way up to date.
    fn note(&self) {
        let mut book = self.shared.book();
        let listed = book
            .active
            .iter_mut()
            .find(|listed| listed.number == self.attempted.number);
        if let Some(listed) = listed {
            listed.clone_from(&self.attempted);
        }
    }

    fn end(&mut self, outcome: Outcome, now: Instant) {
        if self.attempted.outcome.is_some() {
            return;
        }
        self.attempted.outcome = Some(outcome);
        self.attempted.ended = Some(now);
        let mut book = self.shared.book();
        book.under_way -= 1;
        book.ended[outcome as usize] += 1;
        book.active
            .retain(|listed| listed.number != self.attempted.number);
        let most = self.shared.config.listed;
        if most == 0 {
            return;
        }
        if book.recent.len() >= most {
            book.recent.pop_front();
        }
        book.recent.push_back(self.attempted.clone());
    }
}

impl Drop for Recovering {
    fn drop(&mut self) {
        if self.attempted.outcome.is_none() {
            self.end(Outcome::Left, Instant::now());
        }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock, and the book is for people to read.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
