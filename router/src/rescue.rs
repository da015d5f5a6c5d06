//! The two rules by which a call that a pool failed is sent once more, and what they may cost.
//!
//! - *Failover*: what the candidate failed, stable answers.
//! - *Again*: where stable lost a worker under a call, another worker of stable answers.
//!
//! Whether a call *may* be sent again is for `failover` to say: it knows what was repeatable and what
//! has begun. Whether it *is* follows from the error's class, the matrices here, and one budget that
//! both rules share, so that an outage does not double the load on the lane that is left.
//!
//! A call that the candidate's open circuit turns away costs nothing here: it was sent nowhere yet.

mod health;

use std::sync::Arc;
use std::time::Duration;

use dspex_breaker::{
    Action, Backoff, BudgetConfig, Classify, Deadlines, ErrorClass, Matrix, Recovering, Recovery,
    RecoveryConfig, RetryBudget, Rule, Severity, Strategy,
};
use dspex_pool::PoolError;
use tokio::time::Instant;

pub use self::health::{
    ActiveRescue, BudgetHealth, DrawHealth, EndedRescue, RescueHealth, RuleHealth,
};
use crate::classify::PoolErrors;
use crate::error::InvalidConfig;

/// Sends calls once more, within their budget.
pub(crate) struct Rescue {
    pub(crate) budget: Arc<RetryBudget>,
    failover: Recovery,
    again: Recovery,
}

/// A call that is sent once more; dropped where its caller leaves.
pub(crate) struct Rescued(Recovering);

impl Rescued {
    /// How its second attempt ended.
    pub(crate) fn ended(self, answered: bool) {
        let now = Instant::now();
        if answered {
            self.0.recovered(now);
        } else {
            self.0.gave_up(now);
        }
    }
}

impl Rescue {
    /// `longest` is the longest that a call may take.
    pub(crate) fn new(budget: &BudgetConfig, longest: Duration) -> Result<Self, InvalidConfig> {
        let refused = |error: dspex_breaker::InvalidConfig| InvalidConfig {
            setting: error.setting,
            value: error.value,
            expected: error.expected,
        };
        let budget = Arc::new(RetryBudget::new(budget.clone()).map_err(refused)?);
        let recovery = |name: &str, matrix| {
            let config = RecoveryConfig {
                matrix,
                // The call's own deadline comes first; this one only says that it need not be asked.
                deadlines: Deadlines {
                    minor: longest,
                    major: longest,
                    critical: longest,
                },
                ..RecoveryConfig::default()
            };
            Recovery::new(name, config, Arc::clone(&budget)).map_err(refused)
        };
        Ok(Self {
            failover: recovery("failover", failover_matrix())?,
            again: recovery("again", again_matrix())?,
            budget,
        })
    }

    /// Leave to ask stable for what the candidate failed.
    pub(crate) fn failover(&self, call: &Arc<str>, error: &PoolError) -> Option<Rescued> {
        self.rescued(&self.failover, call, error)
    }

    /// Leave to ask stable once more.
    pub(crate) fn again(&self, call: &Arc<str>, error: &PoolError) -> Option<Rescued> {
        self.rescued(&self.again, call, error)
    }

    fn rescued(&self, rule: &Recovery, call: &Arc<str>, error: &PoolError) -> Option<Rescued> {
        let now = Instant::now();
        let class = PoolErrors.classify(error).class;
        let mut recovering = rule.begin(Arc::clone(call), class, now);
        match recovering.next(now) {
            Action::FailOver | Action::Retry { .. } => Some(Rescued(recovering)),
            Action::Trip | Action::Abandon(_) => {
                tracing::info!(request_id = %call, %error, "a call is not sent once more");
                recovering.gave_up(now);
                None
            }
        }
    }

    pub(crate) fn health(&self, now: Instant) -> RescueHealth {
        RescueHealth {
            budget: BudgetHealth::of(&self.budget.figures(now)),
            failover: RuleHealth::of(&self.failover.figures(), now),
            again: RuleHealth::of(&self.again.figures(), now),
        }
    }
}

/// Whatever is the candidate's fault is stable's to answer. What is the caller's or the provider's
/// would end the same there.
fn failover_matrix() -> Matrix {
    let rule = |strategy, retries| Rule {
        severity: Severity::Major,
        strategy,
        retries,
        backoff: Backoff::None,
    };
    Matrix::uniform(&rule(Strategy::Failover, 1))
        .with(ErrorClass::Caller, rule(Strategy::Abandon, 0))
        .with(ErrorClass::Provider, rule(Strategy::Abandon, 0))
}

/// Another worker may answer where one was lost: its wire broke, it hung, or it spoke nonsense.
fn again_matrix() -> Matrix {
    let rule = |strategy, retries| Rule {
        severity: Severity::Minor,
        strategy,
        retries,
        backoff: Backoff::None,
    };
    [
        ErrorClass::Connection,
        ErrorClass::HealthCheck,
        ErrorClass::Communication,
    ]
    .into_iter()
    .fold(
        Matrix::uniform(&rule(Strategy::Abandon, 0)),
        |matrix, class| matrix.with(class, rule(Strategy::ImmediateRetry, 1)),
    )
}

#[cfg(test)]
mod tests {
    use dspex_breaker::Why;

    use super::*;
    use crate::classify::tests::every_error;
    use crate::failover::{may_ask_again, may_ask_stable};

    fn rescue(minimum_per_second: f64) -> Rescue {
        let budget = BudgetConfig {
            share: 0.0,
            minimum_per_second,
            ..BudgetConfig::default()
        };
        Rescue::new(&budget, Duration::from_secs(600)).unwrap()
    }

    #[test]
    fn what_may_be_sent_once_more_is_sent_while_the_budget_lasts() {
        let call: Arc<str> = "r-1".into();
        let (rich, poor) = (rescue(100.0), rescue(0.0));
        for error in every_error() {
            if may_ask_stable(&error, true, true, false) {
                assert!(rich.failover(&call, &error).is_some(), "{error:?}");
                assert!(poor.failover(&call, &error).is_none(), "{error:?}");
            }
            if may_ask_again(&error, true, false) {
                assert!(rich.again(&call, &error).is_some(), "{error:?}");
                assert!(poor.again(&call, &error).is_none(), "{error:?}");
            }
        }
    }

    #[test]
    fn what_is_under_way_and_how_it_ended_is_seen() {
        let rescue = rescue(100.0);
        let call: Arc<str> = "r-1".into();
        let one = rescue.failover(&call, &PoolError::Draining).unwrap();
        let two = rescue.failover(&call, &PoolError::Draining).unwrap();
        let three = rescue.failover(&call, &PoolError::Draining).unwrap();
        let health = rescue.health(Instant::now());
        assert_eq!(health.failover.under_way, 3);
        assert_eq!(&*health.failover.active[0].request_id, "r-1");
        one.ended(true);
        two.ended(false);
        drop(three);
        let ended = rescue.health(Instant::now()).failover;
        let counts = [1, 1, 0, 1];
        assert_eq!(ended.ended().map(|(_, calls)| calls), counts);
        assert!(ended.under_way == 0 && ended.active.is_empty());
        let recent: Vec<_> = ended.recent.iter().map(|one| one.outcome).collect();
        assert_eq!(recent, ["recovered", "abandoned", "left"]);
        assert!(ended.recent.iter().all(|one| one.tries == 1));
    }

    #[test]
    fn what_the_budget_does_not_hold_says_so() {
        let rescue = rescue(0.0);
        let call: Arc<str> = "r-1".into();
        assert!(rescue.failover(&call, &PoolError::Draining).is_none());
        let health = rescue.health(Instant::now());
        let ended = &health.failover.recent[0];
        assert_eq!((ended.outcome, ended.tries), ("abandoned", 0));
        assert_eq!(ended.why, Some(Why::BudgetExhausted));
        let refused = health.budget.draws.iter().find(|one| one.refused > 0);
        assert_eq!(refused.map(|one| one.draw), Some("failover"));
    }
}
