//! Events as an operator reads them: one line each, for logs and for the journal's listing.

use std::fmt;

use crate::event::Event;
use crate::wording;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { plan, who, why } => {
                let stages: Vec<String> = plan
                    .stages
                    .iter()
                    .map(|stage| wording::share(stage.percent))
                    .collect();
                let (stable, candidate) = (&plan.stable, &plan.candidate);
                write!(
                    f,
                    "started by {who}: {stable} to {candidate} by {} ({why})",
                    stages.join(", ")
                )
            }
            Self::StepDone {
                step,
                saved: Some(saved),
                ..
            } => write!(
                f,
                "{step} done: {} in {}",
                wording::bytes(saved.bytes),
                saved.place
            ),
            Self::StepDone {
                step,
                removed: Some(removed),
                ..
            } if !removed.is_nothing() => write!(f, "{step} done: {removed} removed"),
            Self::StepDone { step, checks, .. } if checks.is_empty() => write!(f, "{step} done"),
            Self::StepDone { step, checks, .. } => {
                write!(
                    f,
                    "{step} done: {} passed",
                    wording::count(checks.len() as u64, "check")
                )
            }
            Self::StepFailed { step, reason, .. } => write!(f, "{step} failed: {reason}"),
            Self::StageEntered {
                stage,
                percent,
                waived,
            } => {
                let waived = if *waived { ", its hold waived" } else { "" };
                write!(
                    f,
                    "stage {}: traffic goes to {}{waived}",
                    stage + 1,
                    wording::share(*percent)
                )
            }
            Self::TrafficSet { percent, revision } => {
                let share = wording::share(*percent);
                write!(
                    f,
                    "every router serves {share} (flags at revision {revision})"
                )
            }
            Self::TrafficDelayed { reason } => write!(f, "traffic is not moved yet: {reason}"),
            Self::Ticked {
                credit_ms,
                calls_stable,
                calls_candidate,
                analysis,
                ..
            } => write!(
                f,
                "{}: {:.1}s credited, {calls_stable} on stable and {calls_candidate} on the candidate",
                analysis.summary(),
                std::time::Duration::from_millis(*credit_ms).as_secs_f64(),
            ),
            Self::Watched { analysis, .. } => write!(f, "{}", analysis.summary()),
            Self::GateWaiting { stage, reason } => {
                write!(f, "the gate of stage {} is not open: {reason}", stage + 1)
            }
            Self::GateOpened { stage, cause } => {
                write!(f, "the gate of stage {} is open: {cause}", stage + 1)
            }
            Self::Frozen { why, until: None } => write!(f, "frozen: {why}"),
            Self::Frozen {
                why,
                until: Some(until),
            } => write!(f, "frozen until {until}: {why}"),
            Self::StageLeft { stage, cause, .. } => {
                write!(f, "stage {} is over: {cause}", stage + 1)
            }
            Self::Commanded {
                command,
                who,
                why,
                refused: None,
                ..
            } => {
                write!(f, "{who} asks to {command}: {why}")
            }
            Self::Commanded {
                command,
                who,
                refused: Some(reason),
                ..
            } => {
                write!(f, "{who} asks to {command}, which is refused: {reason}")
            }
            Self::Signed { line, who, why } => write!(f, "{who} signs {line}: {why}"),
            Self::Paused { cause } => write!(f, "paused: {cause}"),
            Self::Resumed { cause } => write!(f, "resumed: {cause}"),
            Self::RollbackBegan { cause, .. } => write!(f, "rolling back: {cause}"),
            Self::TrafficZeroed { revision } => {
                write!(f, "every router serves 0 % (flags at revision {revision})")
            }
            Self::Demoted => f.write_str("the old pool is certain to be stable"),
            Self::Withdrawn {
                finished,
                abandoned,
            } => write!(
                f,
                "the candidate is withdrawn: {} finished, {abandoned} cut off",
                wording::count(*finished, "call")
            ),
            Self::WithdrawFailed { reason } => {
                write!(f, "the candidate is not withdrawn: {reason}")
            }
            Self::Stuck { todo } => write!(f, "stuck: {todo}"),
            Self::ValidationBegan => f.write_str("the last stage is over: validating"),
            Self::ValidationSkipped { cause } => write!(f, "not validated: {cause}"),
            Self::Completed => f.write_str("complete"),
            Self::Rested {
                finished,
                abandoned,
            } => write!(
                f,
                "the old pool rests, and wakes on a call: {} finished, {abandoned} cut off",
                wording::count(*finished, "call")
            ),
            Self::RestDelayed { reason } => write!(f, "the old pool does not rest yet: {reason}"),
            Self::DecommissionBegan { cause } => {
                write!(f, "the old pool is taken out of service: {cause}")
            }
            Self::DecommissionCalledOff { reason } => write!(f, "the old pool stays: {reason}"),
            Self::Decommissioned => f.write_str("decommissioned: the candidate is stable"),
            Self::RolledBack => f.write_str("rolled back"),
        }
    }
}
