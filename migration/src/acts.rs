//! Doing what was decided: one future for each act, which answers what came of it.
//!
//! Invariant: every act may be dropped at any await and done again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use dspex_flags::{Percent, Revision};
use dspex_pool::Drained;

use crate::candidate::Check;
use crate::cause::Cause;
use crate::gate::{Gate, Question};
use crate::lever::Act;
use crate::migrations::Parts;
use crate::observation::{NotRaised, Outcome};
use crate::plan::Plan;
use crate::state::State;
use crate::step::Step;
use crate::succession::Leaving;
use crate::traffic;
use crate::wording;

/// How long a webhook may take to answer. It is asked again, so a slow one is not worth a wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// An act under way. It is not polled during a turn, which writes into the journal: so an act writes to a store
/// that shares the journal's connection in tasks of their own, never by itself.
pub(crate) type UnderWay = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Begins an act. The act holds everything it needs, so that the controller goes on beside it.
pub(crate) fn begin(act: Act, state: &State, parts: &Parts, zeroed: Option<Revision>) -> UnderWay {
    let plan = state.plan.clone();
    let (limit, drain) = (plan.step_limit, plan.drain_limit);
    match act {
        Act::Step(step) => begin_step(step, state, parts, plan),
        Act::Raise { to, from } => {
            let (flags, who) = (parts.flags.clone(), signature(state));
            let why = format!("stage {} of {}", place(state), plan.stages.len());
            Box::pin(async move {
                let raised =
                    traffic::raise(&flags, to, from, &who, &why, plan.acknowledge_within).await;
                Outcome::Raised(to, raised)
            })
        }
        Act::Zero => zero(state, parts, state.rollback.as_ref(), zeroed),
        Act::Demote => {
            let succession = parts.succession.clone();
            Box::pin(async move { Outcome::Demoted(done(limit, succession.demote(&plan)).await) })
        }
        Act::Withdraw => {
            let candidate = parts.candidate.clone();
            Box::pin(async move {
                let withdrawn = done(limit + drain, candidate.withdraw(drain)).await;
                Outcome::Withdrawn(withdrawn.map(counted))
            })
        }
        Act::Ask { stage } => ask(stage, state, parts),
        Act::Rest => {
            let succession = parts.succession.clone();
            Box::pin(async move {
                let rested = done(limit + drain, succession.rest(&plan, drain)).await;
                Outcome::Rested(rested.map(counted))
            })
        }
    }
}

fn begin_step(step: Step, state: &State, parts: &Parts, plan: Plan) -> UnderWay {
    let parts = parts.clone();
    let (id, who) = (state.id.clone(), signature(state));
    let archive = state.archive.clone();
    let (limit, drain) = (plan.step_limit, plan.drain_limit);
    Box::pin(async move {
        match step {
            Step::Preflight => checked(step, limit, parts.candidate.preflight(&plan)).await,
            Step::Verify => checked(step, limit, parts.candidate.verify(&plan)).await,
            Step::Validate => {
                let limit = plan.validation.limit;
                checked(step, limit, parts.validator.validate(&plan)).await
            }
            Step::Confirm => checked(step, limit, parts.succession.confirm(&plan)).await,
            Step::Backup => Outcome::Saved(step, done(limit, parts.vault.backup(&id, &plan)).await),
            Step::Archive => {
                Outcome::Saved(step, done(limit, parts.vault.archive(&id, &plan)).await)
            }
            Step::Deploy => Outcome::Done(step, done(limit, deploy(&parts, &plan, &who)).await),
            Step::Promote => {
                Outcome::Done(step, done(limit, parts.succession.promote(&plan)).await)
            }
            Step::Settle => {
                let why = format!("{} is stable now: both lanes are one pool", plan.candidate);
                let settled =
                    traffic::zero(&parts.flags, None, &who, &why, plan.acknowledge_within).await;
                Outcome::Done(step, settled.map(drop).map_err(|not| not.reason))
            }
            Step::Retire => {
                let leaving = Leaving {
                    migration: &id,
                    plan: &plan,
                    archive: archive.as_ref(),
                };
                let limit = limit + drain;
                Outcome::Retired(done(limit, parts.succession.retire(leaving, drain)).await)
            }
        }
    })
}

async fn deploy(parts: &Parts, plan: &Plan, who: &str) -> Result<(), String> {
    parts.candidate.deploy(plan).await?;
    if plan.shadow > Percent::ZERO {
        traffic::copy(&parts.flags, plan.shadow, who, "the plan's shadow").await?;
    }
    Ok(())
}

fn ask(stage: usize, state: &State, parts: &Parts) -> UnderWay {
    let gatekeeper = parts.gatekeeper.clone();
    let Gate::Webhook { url } = state.plan.stage(stage).gate.clone() else {
        // A state only ever wants a webhook to be asked.
        let nobody = Err("there is nobody to ask".to_owned());
        return Box::pin(std::future::ready(Outcome::Asked(stage, nobody)));
    };
    let question = Question {
        migration: state.id.clone(),
        stage,
        percent: state.plan.stage(stage).percent,
        next: state.plan.stages.get(stage + 1).map(|next| next.percent),
        analysis: state.analysis.clone(),
    };
    Box::pin(async move {
        let asked = done(ANSWER_WITHIN, gatekeeper.ask(&url, &question)).await;
        Outcome::Asked(stage, asked)
    })
}

/// Takes traffic to 0 %, also where the decision could not be written down. `zeroed` is the revision
/// that this controller has written for this rollback before.
pub(crate) fn zero(
    state: &State,
    parts: &Parts,
    cause: Option<&Cause>,
    zeroed: Option<Revision>,
) -> UnderWay {
    parts.candidate.wake_stable();
    let flags = parts.flags.clone();
    let (who, why) = traffic::rollback_signature(&state.id, cause);
    let limit = state.plan.acknowledge_within;
    Box::pin(async move { Outcome::Zeroed(traffic::zero(&flags, zeroed, &who, &why, limit).await) })
}

/// Whether the act has to be done again.
pub(crate) fn failed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Raised(_, Err(NotRaised::Delayed(_)))
        | Outcome::Zeroed(Err(_))
        | Outcome::Demoted(Err(_))
        | Outcome::Withdrawn(Err(_))
        | Outcome::Rested(Err(_))
        | Outcome::Done(_, Err(_))
        | Outcome::Retired(Err(_))
        | Outcome::Saved(_, Err(_))
        | Outcome::Asked(_, Err(_)) => true,
        Outcome::Asked(_, Ok(answer)) => !answer.yes,
        _ => false,
    }
}

fn counted(drained: Drained) -> (u64, u64) {
    (drained.finished, drained.abandoned)
}

fn signature(state: &State) -> String {
    format!("migration {}", state.id)
}

fn place(state: &State) -> usize {
    state.stage.map_or(0, |stage| stage + 1)
}

async fn within<T>(limit: Duration, step: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(limit, step)
        .await
        .map_err(|_| format!("it did not end within {}", wording::span(limit)))
}

async fn done<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    within(limit, step).await.and_then(|done| done)
}

async fn checked(step: Step, limit: Duration, checks: impl Future<Output = Vec<Check>>) -> Outcome {
    let checks = within(limit, checks).await;
    Outcome::Checked(
        step,
        checks.unwrap_or_else(|reason| vec![out_of_time(reason, limit)]),
    )
}

fn out_of_time(reason: String, limit: Duration) -> Check {
    Check {
        name: "time".into(),
        ok: false,
        value: reason,
        limit: wording::span(limit),
        hint: Some("see the log for what it waits for".into()),
    }
}
