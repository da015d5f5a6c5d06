//! The two rules by which a call that a pool failed is sent once more, and what they may cost.
//!
//! - *Failover*: what the candidate failed, stable answers.
//! - *Again*: where stable lost a worker under a call, another worker of stable answers.
//!
//! Whether a call *may* be sent again is for `failover` to say: it knows what was repeatable and what
//! has begun. Whether it *is* follows from the error's class, the tables of `config`, and one budget
//! that both rules share, so that an outage does not double the load on the lane that is left.
//!
//! A call that the candidate's open circuit turns away costs nothing here: it was sent nowhere yet.
//!
//! Invariant: a call is one recovery of one rule, from its first failure to its end, however often it is
//! sent; where a rule breaks the circuit, it is the circuit of the lane that failed.

mod config;
mod health;

use std::sync::Arc;

use dspex_breaker::{
    Action, BudgetConfig, Circuit, Classify, Recovering, Recovery, RetryBudget, Strategy,
};
use dspex_pool::PoolError;
use tokio::time::Instant;

pub use self::config::RescueConfig;
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
    /// How its last attempt ended.
    pub(crate) fn ended(self, answered: bool) {
        let now = Instant::now();
        if answered {
            self.0.recovered(now);
        } else {
            self.0.gave_up(now);
        }
    }

    /// It failed once more, on the lane of this circuit: leave to send it yet again.
    pub(crate) fn once_more(
        mut self,
        call: &Arc<str>,
        error: &PoolError,
        circuit: &Circuit,
    ) -> Option<Self> {
        self.0.failed(PoolErrors.classify(error).class);
        next(self.0, call, error, circuit)
    }
}

impl Rescue {
    pub(crate) fn new(budget: &BudgetConfig, config: &RescueConfig) -> Result<Self, InvalidConfig> {
        let refused = |error: dspex_breaker::InvalidConfig| InvalidConfig {
            setting: error.setting,
            value: error.value,
            expected: error.expected,
        };
        let budget = Arc::new(RetryBudget::new(budget.clone()).map_err(refused)?);
        let recovery = |name: &str, matrix| {
            Recovery::new(name, config.recovery(matrix), Arc::clone(&budget)).map_err(refused)
        };
        Ok(Self {
            failover: recovery("failover", &config.failover)?,
            again: recovery("again", &config.again)?,
            budget,
        })
    }

    /// Leave to ask stable for what the candidate failed, whose circuit this is.
    pub(crate) fn failover(
        &self,
        call: &Arc<str>,
        error: &PoolError,
        candidate: &Circuit,
    ) -> Option<Rescued> {
        let class = PoolErrors.classify(error).class;
        // The try is stable's here, and says nothing of the candidate: so its circuit does not wait for it.
        let rule = self.failover.config().matrix.lookup(class);
        if rule.strategy == Strategy::CircuitBreak {
            candidate.trip(Instant::now());
        }
        begin(&self.failover, call, error, candidate)
    }

    /// Leave to ask stable once more, whose circuit this is.
    pub(crate) fn again(
        &self,
        call: &Arc<str>,
        error: &PoolError,
        stable: &Circuit,
    ) -> Option<Rescued> {
        begin(&self.again, call, error, stable)
    }

    pub(crate) fn health(&self, now: Instant) -> RescueHealth {
        RescueHealth {
            budget: BudgetHealth::of(&self.budget.figures(now)),
            failover: RuleHealth::of(&self.failover.figures(), now),
            again: RuleHealth::of(&self.again.figures(), now),
        }
    }
}

fn begin(
    rule: &Recovery,
    call: &Arc<str>,
    error: &PoolError,
    circuit: &Circuit,
) -> Option<Rescued> {
    let class = PoolErrors.classify(error).class;
    let recovering = rule.begin(Arc::clone(call), class, Instant::now());
    next(recovering, call, error, circuit)
}

fn next(
    mut recovering: Recovering,
    call: &Arc<str>,
    error: &PoolError,
    circuit: &Circuit,
) -> Option<Rescued> {
    let now = Instant::now();
    let action = recovering.next(now);
    match action {
        Action::FailOver | Action::Retry { .. } => return Some(Rescued(recovering)),
        Action::Trip => circuit.trip(now),
        Action::Abandon(_) => {}
    }
    tracing::info!(request_id = %call, %error, ?action, "a call is not sent once more");
    recovering.gave_up(now);
    None
}

#[cfg(test)]
mod tests {
    use dspex_breaker::{CircuitConfig, Why};

    use super::*;
    use crate::classify::tests::every_error;
    use crate::failover::{may_ask_again, may_ask_stable};

    fn circuit() -> Circuit {
        Circuit::new("a lane", CircuitConfig::default()).unwrap()
    }

    fn rescue(minimum_per_second: f64) -> Rescue {
        let budget = BudgetConfig {
            share: 0.0,
            minimum_per_second,
            ..BudgetConfig::default()
        };
        Rescue::new(&budget, &RescueConfig::default()).unwrap()
    }

    #[test]
    fn what_may_be_sent_once_more_is_sent_while_the_budget_lasts() {
        let call: Arc<str> = "r-1".into();
        let (rich, poor) = (rescue(100.0), rescue(0.0));
        for error in every_error() {
            if may_ask_stable(&error, true, true, false) {
                assert!(
                    rich.failover(&call, &error, &circuit()).is_some(),
                    "{error:?}"
                );
                assert!(
                    poor.failover(&call, &error, &circuit()).is_none(),
                    "{error:?}"
                );
            }
            if may_ask_again(&error, true, false) {
                assert!(rich.again(&call, &error, &circuit()).is_some(), "{error:?}");
                assert!(poor.again(&call, &error, &circuit()).is_none(), "{error:?}");
            }
        }
    }

    #[test]
    fn what_is_under_way_and_how_it_ended_is_seen() {
        let rescue = rescue(100.0);
        let call: Arc<str> = "r-1".into();
        let one = rescue
            .failover(&call, &PoolError::Draining, &circuit())
            .unwrap();
        let two = rescue
            .failover(&call, &PoolError::Draining, &circuit())
            .unwrap();
        let three = rescue
            .failover(&call, &PoolError::Draining, &circuit())
            .unwrap();
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
        assert!(
            rescue
                .failover(&call, &PoolError::Draining, &circuit())
                .is_none()
        );
        let health = rescue.health(Instant::now());
        let ended = &health.failover.recent[0];
        assert_eq!((ended.outcome, ended.tries), ("abandoned", 0));
        assert_eq!(ended.why, Some(Why::BudgetExhausted));
        let refused = health.budget.draws.iter().find(|one| one.refused > 0);
        assert_eq!(refused.map(|one| one.draw), Some("failover"));
    }
}
