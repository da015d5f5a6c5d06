//! What must hold between a state, what was seen in it, and the state after it.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_migration::{
    Act, Action, Command, Event, Lever, Look, Phase, Step, Validate, Verdict, analyse,
};

use super::world::{Happens, Told, World, any};

/// The law that is broken, if one is.
pub fn broken(before: &World, told: &Told, after: &World) -> Option<String> {
    let laws = [
        rollback_wins(before, told, after),
        the_share_follows_the_plan(before, told, after),
        paused_nothing_moves(before, told, after),
        paused_nothing_is_raised(before, told, after),
        nothing_follows_a_rollback(told, after),
        a_stage_is_left_for_a_reason(before, told),
        a_freeze_holds(told),
        the_old_pool_goes_for_a_reason(before, told, after),
    ];
    laws.into_iter().flatten().next()
}

fn law(holds: bool, text: &str) -> Option<String> {
    (!holds).then(|| text.to_owned())
}

fn obeyed(told: &Told, like: impl Fn(Command) -> bool) -> bool {
    any(
        &told.decision,
        |event| matches!(event, Event::Commanded { command, refused: None, .. } if like(*command)),
    )
}

fn is_frozen(told: &Told) -> bool {
    matches!(
        told.happens,
        Happens::Looks { frozen: true, .. } | Happens::Ends { frozen: true, .. }
    )
}

fn rollback_wins(before: &World, told: &Told, after: &World) -> Option<String> {
    let asked = told.observation.commands.iter();
    let asked = asked.clone().any(|row| row.command == Command::Rollback);
    let back = after.state.phase == Phase::RollingBack && after.state.percent() == Percent::ZERO;
    if asked && before.state.may_roll_back() {
        let first = told.decision.actions == [Act::Zero] && after.running == Some(Act::Zero);
        return law(
            back && first,
            "a rollback that was asked for did not begin at once",
        );
    }
    let look = told.observation.look.as_ref()?;
    let analysis = analyse(&before.state.plan.thresholds, &look.evidence);
    if analysis.action() == Some(Action::Rollback) && before.state.evidence_rolls_back() {
        return law(back, "a rollback that the evidence asks for did not begin");
    }
    None
}

fn the_share_follows_the_plan(before: &World, told: &Told, after: &World) -> Option<String> {
    let (from, to) = (before.state.percent(), after.state.percent());
    if to > from {
        let next = before.state.stage.map_or(0, |stage| stage + 1);
        let last = before.state.plan.stages.len() - 1;
        let to_end = obeyed(told, |command| command == Command::Promote { to_end: true });
        let stage = if to_end { last } else { next };
        let planned = before
            .state
            .plan
            .stages
            .get(stage)
            .map(|stage| stage.percent);
        return law(
            planned == Some(to) && after.state.stage == Some(stage),
            "the share went up beside the plan",
        );
    }
    let falls = after.state.phase == Phase::RollingBack || settled(told);
    law(
        to == from || (to == Percent::ZERO && falls),
        "the share went down without a rollback",
    )
}

fn paused_nothing_moves(before: &World, told: &Told, after: &World) -> Option<String> {
    if before.state.paused.is_none() || after.state.paused.is_none() {
        // Who is paused now was not, or is let go by somebody.
        let released = obeyed(told, |command| {
            matches!(command, Command::Resume | Command::Rollback)
        });
        let by_itself = any(&told.decision, |event| {
            matches!(
                event,
                Event::RollbackBegan { .. }
                    | Event::DecommissionCalledOff { .. }
                    | Event::Decommissioned
            )
        });
        let goes_on = before.state.paused.is_some() && !released && !by_itself;
        return law(!goes_on, "it went on while it is paused");
    }
    // What had been begun may end: both lanes are one pool by the time that the lever is settled.
    let same = before.state.percent() == after.state.percent() || settled(told);
    law(
        same && told.decision.actions.is_empty(),
        "something was begun while it is paused",
    )
}

/// The lever itself, and not what the controller has in mind for it.
fn paused_nothing_is_raised(before: &World, told: &Told, after: &World) -> Option<String> {
    let paused = before.state.paused.is_some() && after.state.paused.is_some();
    let by_hand = matches!(told.happens, Happens::SetByHand(_));
    law(
        !paused || by_hand || after.lever <= before.lever,
        "traffic was raised while it is paused",
    )
}

fn settled(told: &Told) -> bool {
    any(&told.decision, |event| {
        matches!(
            event,
            Event::StepDone {
                step: Step::Settle,
                ..
            }
        )
    })
}

fn nothing_follows_a_rollback(told: &Told, after: &World) -> Option<String> {
    let over = matches!(
        after.state.phase,
        Phase::RollingBack | Phase::RolledBack | Phase::Stuck
    );
    let sends = |act: &Act| matches!(act, Act::Raise { .. } | Act::Step(_) | Act::Ask { .. });
    let quiet = !told.decision.actions.iter().any(sends) && after.state.percent() == Percent::ZERO;
    let gone = told.decision.actions.contains(&Act::Withdraw);
    law(!over || quiet, "something went up after a rollback began").or_else(|| {
        law(
            !gone || after.state.lever == Lever::Zero,
            "it was withdrawn above 0 %",
        )
    })
}

fn a_stage_is_left_for_a_reason(before: &World, told: &Told) -> Option<String> {
    let left = any(&told.decision, |event| {
        matches!(event, Event::StageLeft { .. })
    });
    let by_person = obeyed(told, |command| matches!(command, Command::Promote { .. }));
    if !left || by_person || told.decision.rollback().is_some() || before.state.waived {
        return None;
    }
    let plan = &before.state.plan;
    let stage = before.state.stage.expect("a stage is left");
    let look = told.observation.look.as_ref();
    let healthy = look.is_some_and(|look| {
        let enough = look.evidence.candidate.calls >= plan.thresholds.minimum_samples;
        enough && analyse(&plan.thresholds, &look.evidence).verdict == Verdict::Healthy
    });
    let credit = look.map(|look| look.elapsed).unwrap_or_default();
    let held = before.state.healthy + credit >= plan.stages[stage].hold;
    let approved = obeyed(told, |command| command == Command::Approve);
    let open = before.state.closed_gate().is_none() || approved;
    law(healthy, "a stage was left without Healthy")
        .or_else(|| law(held, "a stage was left before it was held"))
        .or_else(|| law(open, "a stage was left with its gate closed"))
}

fn a_freeze_holds(told: &Told) -> Option<String> {
    let goes_on = any(&told.decision, |event| {
        matches!(
            event,
            Event::StageEntered { .. } | Event::Completed | Event::DecommissionBegan { .. }
        )
    });
    let rests = told.decision.actions.contains(&Act::Rest);
    let served = told.observation.flags.effective();
    let raises = |act: &Act| matches!(act, Act::Raise { to, .. } if *to > served);
    let raised = told.decision.actions.iter().any(raises);
    law(
        !is_frozen(told) || !(goes_on || rests),
        "it went on in a freeze",
    )
    .or_else(|| {
        law(
            !is_frozen(told) || !raised,
            "traffic was raised in a freeze",
        )
    })
}

fn the_old_pool_goes_for_a_reason(before: &World, told: &Told, after: &World) -> Option<String> {
    let state = &before.state;
    let began = any(&told.decision, |event| {
        matches!(event, Event::DecommissionBegan { .. })
    });
    if began {
        let look = told.observation.look.as_ref();
        let healthy = look.is_some_and(|look| {
            analyse(&state.plan.thresholds, &look.evidence).verdict == Verdict::Healthy
        });
        // What was seen and not yet written counts, once it is written before the end begins.
        let seen = state.served + look.map_or(Duration::ZERO, |look| look.served);
        let long = seen.min(after.state.served) >= state.plan.retention.decommission_after;
        let all = before.lever == Percent::HUNDRED;
        let asked = obeyed(told, |command| command == Command::Decommission);
        return law(
            asked && healthy && long && all && state.phase == Phase::Complete,
            "the old pool's end began too soon",
        );
    }
    let completes = any(&told.decision, |event| matches!(event, Event::Completed));
    let rests = told.decision.actions.contains(&Act::Rest);
    let seen_ready = told.observation.look.as_ref().is_some_and(Look::is_ready);
    if rests && !seen_ready {
        return Some("the old pool was put to rest while the candidate cannot serve".to_owned());
    }
    if completes {
        let look = told.observation.look.as_ref();
        let healthy = look.is_some_and(|look| {
            analyse(&state.plan.thresholds, &look.evidence).verdict == Verdict::Healthy
        });
        let by_person = obeyed(told, |command| matches!(command, Command::Promote { .. }));
        if !(healthy || by_person) {
            return Some("it completed although it is not seen well now".to_owned());
        }
        let validated = any(&told.decision, |event| {
            matches!(
                event,
                Event::StepDone {
                    step: Step::Validate,
                    ..
                } | Event::ValidationSkipped { .. }
            )
        });
        let before = state.phase == Phase::Validate && state.step.is_none();
        let none = state.plan.validation.run == Validate::None;
        return law(
            validated || before || none,
            "it completed without a validation",
        );
    }
    let retires = told.decision.actions.contains(&Act::Step(Step::Retire));
    let at_rest = after.state.lever == Lever::Rest && after.state.is_promoted();
    let back = told.decision.rollback().is_some();
    law(
        !retires || at_rest,
        "the old pool was retired before the lever was at rest",
    )
    .or_else(|| {
        law(
            !(back && state.is_promoted()),
            "it rolled back to a pool that may be gone",
        )
    })
}
