//! The same call again, a few times, while there is budget for it.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::checked::checked;
use crate::{Backoff, Classify, Draw, InvalidConfig, Matrix, RetryBudget, Strategy};

/// How often a call is made at most, and what waits between. What exists is valid.
///
/// The waits are these and not those of the matrix: a caller who retries knows how long it may wait for
/// this call. Of the matrix's rule count the strategy, and the retries as a second limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Retry {
    attempts: u32,
    backoff: Backoff,
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
    /// So many attempts in all, the first included, with these waits between them.
    ///
    /// # Errors
    ///
    /// When the attempts are not 1 to 100, or the backoff is not valid.
    pub fn new(attempts: u32, backoff: Backoff) -> Result<Self, InvalidConfig> {
        let retry = Self { attempts, backoff };
        retry.validate()?;
        Ok(retry)
    }

    /// Attempts in all, the first included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The waits between them, for classes whose strategy is to wait.
    #[must_use]
    pub fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
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
    /// `deadline`. Answers with the last attempt's end. Between attempts it waits as [`Retry::backoff`]
    /// says, whatever the backoff of the matrix's rule is.
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

checked!(Retry);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_however_it_is_made() {
        for (json, reason) in [
            (r#"{"attempts":0}"#, "attempts is 0: it must be 1 to 100"),
            (r#"{"attempts":101}"#, "attempts is 101"),
            (
                r#"{"backoff":{"kind":"custom","delays":[]}}"#,
                "backoff delays is a list of 0",
            ),
            (r#"{"backof":{"kind":"none"}}"#, "unknown field `backof`"),
        ] {
            let error = serde_json::from_str::<Retry>(json).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        for (attempts, backoff) in [
            (0, Backoff::None),
            (101, Backoff::None),
            (3, Backoff::custom([])),
            (3, Backoff::default().with_jitter(f64::NAN)),
        ] {
            assert!(Retry::new(attempts, backoff).is_err(), "{attempts}");
        }
        let retry = Retry::new(2, Backoff::None).unwrap();
        let json = serde_json::to_string(&retry).unwrap();
        assert_eq!(serde_json::from_str::<Retry>(&json).unwrap(), retry);
        assert_eq!(
            serde_json::from_str::<Retry>("{}").unwrap(),
            Retry::default()
        );
    }
}
