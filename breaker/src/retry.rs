//! The same call again, a few times, while there is budget for it.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Backoff, Classify, Draw, InvalidConfig, Matrix, RetryBudget, Strategy};

/// How often a call is made at most, and what waits between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included, 1 to 100.
    pub attempts: u32,
    /// The waits between them.
    pub backoff: Backoff,
}

impl Default for Retry {
    /// Three attempts, with the default backoff.
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
        }
    }
}

impl Retry {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if !(1..=100).contains(&self.attempts) {
            return Err(InvalidConfig::new(
                "attempts",
                &self.attempts,
                "it must be 1 to 100",
            ));
        }
        self.backoff.validate()
    }

    /// Makes a call until it succeeds, its failure is of a class that `matrix` does not retry, the
    /// attempts or the budget are used up, or the wait for the next attempt would end after
    /// `deadline`. Answers with the last attempt's end.
    ///
    /// Only for calls that may be repeated: it cannot know whether a failed attempt had an effect.
    ///
    /// # Errors
    ///
    /// The last attempt's own.
    pub async fn run<T, E, F>(
        &self,
        budget: &RetryBudget,
        matrix: &Matrix,
        judge: &impl Classify<E>,
        deadline: Instant,
        mut call: impl FnMut() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        budget.deposit(Instant::now());
        let mut delays = self.backoff.delays(RandomState::new().hash_one(0));
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let rule = matrix.lookup(judge.classify(&error).class);
            let wait = match rule.strategy {
                Strategy::ImmediateRetry => std::time::Duration::ZERO,
                Strategy::BackoffRetry => delays.next().unwrap_or_default(),
                // To stop asking, to ask elsewhere and to give up are not for this caller to do.
                Strategy::CircuitBreak | Strategy::Failover | Strategy::Abandon => {
                    return Err(error);
                }
            };
            let now = Instant::now();
            let spent =
                attempt >= self.attempts || attempt > rule.retries || now + wait >= deadline;
            if spent || budget.withdraw(Draw::Retry, now).is_err() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}
