//! The same call a second time, because the first takes long: whichever answers first is taken.
//!
//! Invariants: at most two attempts are made; the second only where the caller says that the call may be
//! made twice, and while there is budget for it; when one has answered, the other is dropped. Dropping
//! the whole drops both.

use std::future::Future;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::checked::checked;
use crate::{Draw, InvalidConfig, RetryBudget};

/// When a call that takes long is made a second time. What exists is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Hedge {
    #[serde(with = "humantime_serde")]
    after: Duration,
}

/// Which attempt a call is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// The first.
    First,
    /// The one beside it. To ask another callee is worth more than to ask the same.
    Hedge,
}

impl Hedge {
    /// Makes a second attempt once the first has taken so long. A good time is one that few calls
    /// take, such as the 95th percentile: the budget bears no more.
    ///
    /// # Errors
    ///
    /// When it is zero, which would make every call twice.
    pub fn new(after: Duration) -> Result<Self, InvalidConfig> {
        let hedge = Self { after };
        hedge.validate()?;
        Ok(hedge)
    }

    /// How long the first attempt is alone.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }

    fn validate(&self) -> Result<(), InvalidConfig> {
        if self.after.is_zero() {
            return Err(InvalidConfig::new(
                "after",
                &"0s",
                "it must be longer than 0s, or every call is made twice",
            ));
        }
        Ok(())
    }

    /// Makes a call, and once more beside it where it takes long, `repeatable` says that it may be made
    /// twice, and `budget` holds a [`Draw::Hedge`]. Answers with the first answer of either.
    ///
    /// An attempt that fails while the other runs leaves the answer to that one. One that fails alone is
    /// the end: to try again after a failure is [`Retry`](crate::Retry)'s part.
    ///
    /// # Errors
    ///
    /// The error of the attempt that ended last, where none answered.
    pub async fn run<T, E, F>(
        &self,
        budget: &RetryBudget,
        repeatable: bool,
        mut call: impl FnMut(Attempt) -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        budget.deposit(Instant::now());
        let first = call(Attempt::First);
        if !repeatable {
            return first.await;
        }
        tokio::pin!(first);
        tokio::select! {
            biased;
            ended = &mut first => return ended,
            () = tokio::time::sleep(self.after) => {}
        }
        if budget.withdraw(Draw::Hedge, Instant::now()).is_err() {
            return first.await;
        }
        let second = call(Attempt::Hedge);
        tokio::pin!(second);
        tokio::select! {
            biased;
            ended = &mut first => match ended {
                Ok(answer) => Ok(answer),
                Err(_) => second.await,
            },
            ended = &mut second => match ended {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }
}

checked!(Hedge);
