//! Doing what was decided: one future for each act, which answers what came of it.
//!
//! Invariant: every act may be dropped at any await and done again.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use dspex_flags::{Percent, Revision};

use crate::candidate::Check;
use crate::event::{Cause, Step};
use crate::lever::Act;
use crate::migrations::Parts;
use crate::observation::{NotRaised, Outcome};
use crate::state::State;
use crate::traffic;
use crate::wording;

/// As much of the reason for a rollback as goes into the flags' audit, in characters: four bytes at
/// most, and flags take 4,096 of them.
const WHY: usize = 1_000;

/// An act under way.
pub(crate) type UnderWay = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Begins an act. The act holds everything it needs, so that the controller goes on beside it.
pub(crate) fn begin(act: Act, state: &State, parts: &Parts, zeroed: Option<Revision>) -> UnderWay {
    let candidate = parts.candidate.clone();
    let plan = state.plan.clone();
    let limit = plan.step_limit;
    match act {
        Act::Step(Step::Deploy) => {
            let (flags, who) = (parts.flags.clone(), signature(state));
            Box::pin(async move {
                let deploy = async {
                    candidate.deploy(&plan).await?;
                    if plan.shadow > Percent::ZERO {
                        traffic::copy(&flags, plan.shadow, &who, "the plan's shadow").await?;
                    }
                    Ok(())
                };
                let deployed = within(limit, deploy).await;
                Outcome::Deployed(deployed.and_then(|deployed| deployed))
            })
        }
        Act::Step(step) => Box::pin(async move {
            let checks = async {
                match step {
                    Step::Preflight => candidate.preflight(&plan).await,
                    _ => candidate.verify(&plan).await,
                }
            };
            let checks = within(limit, checks).await;
            Outcome::Checked(
                step,
                checks.unwrap_or_else(|reason| vec![out_of_time(reason, limit)]),
            )
        }),
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
        Act::Withdraw => Box::pin(async move {
            let drain = plan.drain_limit;
            let withdrawn = within(limit + drain, candidate.withdraw(drain)).await;
            let withdrawn = withdrawn.and_then(|withdrawn| withdrawn);
            Outcome::Withdrawn(withdrawn.map(|drained| (drained.finished, drained.abandoned)))
        }),
    }
}

/// Takes traffic to 0 %, also where the decision could not be written down. `zeroed` is the revision
/// that this controller has written for this rollback before.
pub(crate) fn zero(
    state: &State,
    parts: &Parts,
    cause: Option<&Cause>,
    zeroed: Option<Revision>,
) -> UnderWay {
    let (flags, who) = (parts.flags.clone(), signature(state));
    let why = cause.map_or_else(
        || "rollback".to_owned(),
        |cause| format!("rollback: {cause}"),
    );
    // Flags refuse a reason that is too long, and this write must not be refused. The whole of it is
    // in the journal.
    let why: String = why.chars().take(WHY).collect();
    let limit = state.plan.acknowledge_within;
    Box::pin(async move { Outcome::Zeroed(traffic::zero(&flags, zeroed, &who, &why, limit).await) })
}

/// Whether the act has to be done again.
pub(crate) fn failed(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Raised(_, Err(NotRaised::Delayed(_)))
            | Outcome::Zeroed(Err(_))
            | Outcome::Withdrawn(Err(_))
    )
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

fn out_of_time(reason: String, limit: Duration) -> Check {
    Check {
        name: "time".into(),
        ok: false,
        value: reason,
        limit: wording::span(limit),
        hint: Some("see the log for what it waits for".into()),
    }
}
