//! What the controller says when it does not go on: a command refused, a lever moved by others, a
//! candidate that does not go.

use crate::analysis::{Analysis, Verdict};
use crate::command::Command;
use crate::lever::Lever;
use crate::observation::FlagsSeen;
use crate::phase::Phase;
use crate::state::State;
use crate::wording;

/// Why a command is not obeyed, if it is not.
pub(super) fn refused(
    state: &State,
    command: Command,
    analysis: Option<&Analysis>,
) -> Option<String> {
    let phase = state.phase;
    match command {
        Command::Rollback => match phase {
            Phase::RollingBack => Some("it is rolling back already".into()),
            Phase::RolledBack => Some("it is rolled back already".into()),
            _ => None,
        },
        Command::Pause if state.paused.is_some() => Some("it is paused already".into()),
        Command::Pause if !state.may_pause() => Some(format!(
            "nothing goes on in phase {phase} that could be paused"
        )),
        Command::Pause => None,
        Command::Resume => state.paused.is_none().then(|| "it is not paused".into()),
        Command::Promote { .. } if phase != Phase::Rollout => {
            Some(format!("there is no stage to promote in phase {phase}"))
        }
        Command::Promote { .. } => {
            if let Some(cause) = &state.paused {
                return Some(format!("it is paused ({cause}): resume it first"));
            }
            if !matches!(state.lever, Lever::At { .. }) {
                let share = wording::share(state.percent());
                return Some(format!("{share} is not acknowledged by every router yet"));
            }
            analysis
                .filter(|analysis| analysis.verdict == Verdict::Critical)
                .map(|analysis| format!("the verdict is critical: {}", analysis.summary()))
        }
    }
}

/// That somebody else has moved the lever.
pub(super) fn drifted(flags: &FlagsSeen, state: &State) -> String {
    let by = flags
        .changed_by
        .as_ref()
        .map(|by| format!(" by {by}"))
        .unwrap_or_default();
    let ours = match state.lever {
        Lever::Moving {
            from: Some(from), ..
        } => from,
        _ => state.percent(),
    };
    format!(
        "the flags were changed{by}: pool_v2_enabled is {} and gradual_rollout_percentage is {}, but \
         this migration has the candidate at {}; it does not fight over them: resume it to have \
         its own share set again, or roll back",
        flags.enabled,
        wording::share(flags.percent),
        wording::share(ours),
    )
}

/// What a person has to do, now that the candidate cannot be withdrawn.
pub(super) fn stuck(state: &State, reason: &str) -> String {
    format!(
        "traffic is at 0 %, but the candidate {} could not be withdrawn in {} tries (the last: \
         {reason}); stop its workers by hand, then roll back once more to finish",
        state.plan.candidate, state.withdraw_failures,
    )
}
