//! What the controller says when it does not go on: a command refused, a lever moved by others, a
//! candidate that does not go.

use dspex_flags::Percent;

use crate::analysis::{Analysis, Verdict};
use crate::command::Command;
use crate::freeze::Frozen;
use crate::gate::Gate;
use crate::lever::Lever;
use crate::observation::FlagsSeen;
use crate::phase::Phase;
use crate::state::State;
use crate::wording;

/// What a command is held against, beside the state.
pub(super) struct Around<'a> {
    /// The look of this moment, where there is one.
    pub(super) analysis: Option<&'a Analysis>,
    pub(super) frozen: Option<&'a Frozen>,
    pub(super) flags: &'a FlagsSeen,
}

/// Why a command is not obeyed, if it is not.
pub(super) fn refused(state: &State, command: Command, around: &Around<'_>) -> Option<String> {
    match command {
        Command::Rollback => rollback_refused(state),
        Command::Pause if state.paused.is_some() => Some("it is paused already".into()),
        Command::Pause if !state.may_pause() => Some(format!(
            "nothing goes on in phase {} that could be paused",
            state.phase
        )),
        Command::Pause => None,
        Command::Resume => state.paused.is_none().then(|| "it is not paused".into()),
        Command::Promote { .. } => promote_refused(state, around),
        Command::Approve => approve_refused(state),
        Command::Decommission => decommission_refused(state, around),
        Command::Sign { .. } => None,
    }
}

fn rollback_refused(state: &State) -> Option<String> {
    if state.may_roll_back() {
        return None;
    }
    Some(match state.phase {
        Phase::RollingBack => "it is rolling back already".into(),
        Phase::RolledBack => "it is rolled back already".into(),
        _ => format!(
            "{} is stable now, and there is nothing left to go back to: start a new migration to {}",
            state.plan.candidate_name(),
            state.plan.stable_name()
        ),
    })
}

fn promote_refused(state: &State, around: &Around<'_>) -> Option<String> {
    let stands = match state.phase {
        Phase::Rollout => state.stage.is_some(),
        Phase::Validate => true,
        _ => false,
    };
    if !stands {
        return Some(match (around.frozen, state.phase) {
            (Some(frozen), Phase::Rollout) => format!("it is {frozen}"),
            (_, phase) => format!("there is no stage to promote in phase {phase}"),
        });
    }
    if let Some(cause) = &state.paused {
        return Some(format!("it is paused ({cause}): resume it first"));
    }
    if let Some(frozen) = around.frozen {
        return Some(format!(
            "it is {frozen}; a freeze is for everybody: wait for its end, or roll back"
        ));
    }
    if !matches!(state.lever, Lever::At { .. }) {
        let share = wording::share(state.percent());
        return Some(format!("{share} is not acknowledged by every router yet"));
    }
    around
        .analysis
        .filter(|analysis| analysis.verdict == Verdict::Critical)
        .map(|analysis| format!("the verdict is critical: {}", analysis.summary()))
}

fn approve_refused(state: &State) -> Option<String> {
    let (Phase::Rollout, Some(stage)) = (state.phase, state.stage) else {
        return Some(format!(
            "there is no stage to approve in phase {}",
            state.phase
        ));
    };
    if let Some(cause) = &state.gate {
        return Some(format!("the gate of stage {} is open: {cause}", stage + 1));
    }
    match state.plan.stage(stage).gate {
        Gate::Approval => None,
        Gate::Automatic => Some(format!("stage {} needs nobody's approval", stage + 1)),
        Gate::Webhook { .. } => Some(format!(
            "the gate of stage {} asks a webhook: promote goes past it on a person's word",
            stage + 1
        )),
    }
}

fn decommission_refused(state: &State, around: &Around<'_>) -> Option<String> {
    match state.phase {
        Phase::Complete => {}
        Phase::Decommission => return Some("it is being decommissioned already".into()),
        Phase::Decommissioned => return Some("it is decommissioned already".into()),
        phase => {
            return Some(format!(
                "the old pool is needed in phase {phase}: it may go once the migration is complete"
            ));
        }
    }
    if let Some(frozen) = around.frozen {
        return Some(format!("it is {frozen}"));
    }
    let after = state.plan.retention.decommission_after;
    if state.served < after {
        return Some(format!(
            "the candidate was seen to serve all traffic for {} since the migration was complete, and {} \
             are asked for (migration.retention.decommission_after)",
            wording::span(state.served),
            wording::span(after)
        ));
    }
    let (share, all) = (around.flags.effective(), Percent::HUNDRED);
    if share != all {
        return Some(format!(
            "{} of the traffic is on the candidate, and it must be {}: somebody changed the flags",
            wording::share(share),
            wording::share(all)
        ));
    }
    match around.analysis {
        Some(analysis) if analysis.verdict == Verdict::Healthy => None,
        Some(analysis) => Some(format!(
            "the candidate is not seen healthy: {}",
            analysis.summary()
        )),
        None => Some("the candidate was not looked at yet: ask again".into()),
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

/// What a person can do while it is tried on to take traffic to 0 %. Begins with why it failed.
pub(super) fn not_at_zero(state: &State, reason: &str, tries: u32) -> String {
    let (stable, candidate) = (state.plan.stable_name(), state.plan.candidate_name());
    format!(
        "{reason} ({tries} tries and more, and it is tried on). What to do by hand: where the store does not \
         take the write, see to its disk and to who holds its lock; where a router does not acknowledge it, end \
         that router's process, as it may still send calls to {candidate}: once it is started again it takes the \
         flags as they are stored. If neither helps, `dspex migrate emergency-rollback` writes them on the store's \
         own machine, and a server that is restarted then sends all calls to {stable}"
    )
}

/// What a person has to do, now that the candidate cannot be withdrawn.
pub(super) fn stuck(state: &State, reason: &str) -> String {
    let (candidate, stable) = (&state.plan.candidate, &state.plan.stable);
    let tries = state.withdraw_failures;
    if state.demotes {
        return format!(
            "the flags are at 0 %, but in {tries} tries {stable} could not be made stable again (the last: \
             {reason}); put that right by hand, then roll back once more to finish"
        );
    }
    format!(
        "traffic is at 0 %, but the candidate {candidate} could not be withdrawn in {tries} tries (the \
         last: {reason}); put that right (where its workers do not end, stop them by hand), then roll back \
         once more to finish"
    )
}
