//! `rollback-everywhere`: a rollback is asked for in each state that a migration can be in, and once
//! where there is none any more.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, callers, lanes};
use crate::drill::journal::{Entry, Journal};
use crate::drill::refusal::Refusal;
use crate::drill::rehearsal::Rehearsal;
use crate::process::Group;

/// How long after the command every router must have acknowledged 0 %, while the candidate has traffic.
const ZERO_WITHIN_MS: i128 = 200;

/// The same in the other states, in which much else is under way.
const ZERO_ELSEWHERE_WITHIN_MS: i128 = 2_000;

/// How long all stages together may take: seconds, and more on a machine that others use too, where calls
/// enough to judge by are long in coming.
const ALL_STAGES: Duration = Duration::from_secs(120);

/// A candidate that takes two seconds to come up, so that a rollback can fall into its deployment, and
/// an old pool that is soon cold.
const SETTINGS: &str = r#"
[pools.v2]
preload = ["slow_start"]
[migration]
stages = [
    { percent = "10%", hold = "1s" },
    { percent = "50%", hold = "1s" },
    { percent = "100%", hold = "2s" },
]
[migration.validation]
# A person's word ends it where it is not what a rollback falls into.
run = "quick"
[migration.retention]
warm = "4s"
decommission_after = "500ms"
"#;

/// The states, in the order of a migration's way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// As soon as it was begun.
    AtOnce,
    Deploying,
    Verifying,
    Stage(f64),
    Paused,
    /// While a rollback is under way already.
    RollingBack,
    Validating,
    /// Complete, and the old pool still has its workers.
    CompleteWarm,
    /// Complete, and the old pool has none.
    CompleteCold,
    /// In this step of the decommission, of those from which there is a way back.
    Decommissioning(&'static str),
}

/// What keeps a migration in its state until the rollback is over.
#[derive(Default)]
struct Held {
    refusal: Option<Refusal>,
    /// The one who has asked for the decommission, and waits for its end.
    asking: Option<Group>,
}

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(SETTINGS, &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    for when in [
        When::AtOnce,
        When::Deploying,
        When::Verifying,
        When::Stage(10.0),
        When::Stage(50.0),
        When::Stage(100.0),
        When::Paused,
        When::RollingBack,
        When::Validating,
        When::CompleteWarm,
        When::CompleteCold,
        When::Decommissioning("confirm"),
        When::Decommissioning("archive"),
        When::Decommissioning("promote"),
    ] {
        roll_back(drill, when)?;
    }
    too_late(drill)?;
    drill.rest(AFTERWARDS)
}

/// One migration, up to this state and back.
fn roll_back(drill: &mut Rehearsal<'_>, when: When) -> Result<()> {
    let from = drill.ledger.now();
    let held = reach(drill, when)?;
    if when == When::RollingBack {
        // Refused where the first one is over by then.
        drill.dspex_ends(&["migrate", "rollback", "--why", "once more"])?;
    } else {
        drill.roll_back()?;
    }
    let status = drill.until("the rollback", SOON, |status| {
        matches!(status.phase.as_str(), "rolled_back" | "stuck")
    })?;
    if let Some(refusal) = held.refusal {
        refusal.lift()?;
    }
    drop(held.asking);
    if when == When::Decommissioning("promote") {
        one_pool_in_both_lanes(drill, from);
    }
    let last = last_before(drill.keep_journal()?);
    let (there, state) = last.map_or((false, "nothing".to_owned()), |entry| {
        (when.is_told_by(&entry), told(&entry))
    });
    drill.claim(
        format!("asked for {when:?}: that is what it was doing"),
        there,
        state,
    );
    let (stable, candidate) = lanes(drill)?;
    let percent = share_served(drill)?;
    drill.claim(
        format!("asked for {when:?}, everything is taken back"),
        status.phase == "rolled_back"
            && percent == Some(0.0)
            && (stable.as_str(), candidate.as_str()) == ("v1@1", "none"),
        format!(
            "{}, {} % set and served, stable is {stable}, the candidate {candidate}",
            status.phase,
            percent.map_or("no".to_owned(), |percent| percent.to_string()),
        ),
    );
    // A second rollback finds the work of the first done already.
    if when != When::RollingBack {
        let to_zero = crate::drill::judge::reaction::newest(drill).and_then(|seen| seen.to_zero_ms);
        let limit = match when {
            When::Stage(_) | When::Paused => ZERO_WITHIN_MS,
            _ => ZERO_ELSEWHERE_WITHIN_MS,
        };
        drill.claim(
            format!("asked for {when:?}, traffic is at 0 % within {limit} ms"),
            to_zero.is_some_and(|millis| millis <= limit),
            to_zero.map_or("before it was asked for".to_owned(), |millis| {
                format!("{millis} ms")
            }),
        );
    }
    no_call_failed(drill, &format!("asked for {when:?}"), from);
    Ok(())
}

/// The candidate is stable by then: there is nothing left to go back to, and that is said.
fn too_late(drill: &mut Rehearsal<'_>) -> Result<()> {
    let from = drill.ledger.now();
    drill.migrate()?;
    complete(drill)?;
    let refusal = Refusal::of(drill, "settle")?;
    let asking = decommission_up_to(drill, "settle")?;
    let rollback = ["migrate", "rollback", "--why", "too late"];
    // What becomes of it is written together with the step that the store refuses, and no sooner.
    drill.dspex_ends(&rollback)?;
    refusal.lift()?;
    let status = drill.until_phase("decommissioned", SOON)?;
    drop(asking);
    one_pool_in_both_lanes(drill, from);
    let (stable, candidate) = lanes(drill)?;
    drill.claim(
        "and the decommission comes to its end",
        (stable.as_str(), candidate.as_str()) == ("v2@1", "none"),
        format!("{}, stable is {stable}", status.phase),
    );
    no_call_failed(drill, "asked for too late", from);
    let (code, _, error) = drill.dspex_ends(&rollback)?;
    drill.claim(
        "asked for after that, it is refused and its asker is told why",
        code == Some(5) && error.contains("is stable now"),
        format!("{code:?}: {}", error.trim()),
    );
    let journal = drill.keep_journal()?;
    let began = journal.count("rollback_began");
    let asked = journal
        .entries
        .iter()
        .find(|entry| entry.kind() == "commanded" && entry.event["command"] == "rollback");
    let refused = asked.map_or(Value::Null, |entry| entry.event["refused"].clone());
    drill.claim(
        "asked for in the step settle, it was refused with the same reason",
        began == 0
            && refused
                .as_str()
                .is_some_and(|why| why.contains("is stable now")),
        format!("{refused}, {began} rollbacks"),
    );
    Ok(())
}

fn reach(drill: &mut Rehearsal<'_>, when: When) -> Result<Held> {
    let mut held = Held::default();
    if when == When::Verifying {
        // It takes less time than a command where the machine is fast.
        held.refusal = Some(Refusal::of(drill, "verify")?);
    }
    drill.migrate()?;
    match when {
        When::AtOnce => {}
        When::Deploying => drop(drill.until_phase("deploy", SOON)?),
        When::Verifying => drop(drill.until_phase("verify", SOON)?),
        When::Stage(percent) => drop(drill.until_share(percent, ALL_STAGES)?),
        When::Paused => {
            drill.until_share(10.0, SOON)?;
            drill.steer("pause")?;
            drill.until("the pause", SOON, |status| !status.paused.is_null())?;
        }
        When::RollingBack => {
            drill.until_share(50.0, SOON)?;
            drill.steer("rollback")?;
        }
        When::Validating => drop(drill.until_phase("validate", ALL_STAGES)?),
        When::CompleteWarm => complete(drill)?,
        When::CompleteCold => {
            complete(drill)?;
            drill.until("the old pool's rest", SOON, |status| status.rested)?;
        }
        When::Decommissioning(step) => {
            complete(drill)?;
            held.refusal = Some(Refusal::of(drill, step)?);
            held.asking = Some(decommission_up_to(drill, step)?);
        }
    }
    Ok(held)
}

/// Up to the end, past the validation on a person's word.
fn complete(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.until_phase("validate", ALL_STAGES)?;
    drill.steer("promote")?;
    drill.until_phase("complete", SOON).map(drop)
}

/// Has the old pool taken out of service as soon as it may go, and waits for this step.
fn decommission_up_to(drill: &mut Rehearsal<'_>, step: &str) -> Result<Group> {
    let asking = RefCell::new(drill.begin_decommission()?);
    let patient_until = drill.ledger.now() + SOON;
    loop {
        let patient = drill.ledger.now() < patient_until;
        // Refused while the candidate was not seen to serve for long enough, it ends at once.
        let refused = || patient && asking.borrow_mut().ended().is_some();
        let status = drill.until(&format!("the step {step}"), SOON, |status| {
            status.step.as_deref() == Some(step) || refused()
        })?;
        if status.step.as_deref() == Some(step) {
            return Ok(asking.into_inner());
        }
        drill.rest(Duration::from_millis(100))?;
        asking.replace(drill.begin_decommission()?);
    }
}

/// From its promotion on the candidate's pool answers in the stable lane, while the share is not moved
/// yet: a session that changes its lane then stays with its pool.
fn one_pool_in_both_lanes(drill: &mut Rehearsal<'_>, from: Duration) {
    let until = drill.ledger.now();
    drill.unseen.push((from, until));
}

fn no_call_failed(drill: &mut Rehearsal<'_>, when: &str, from: Duration) {
    let (mut calls, mut failed) = (0, 0);
    for sample in drill.ledger.samples().iter() {
        if sample.started >= from {
            calls += 1;
            failed += usize::from(sample.failure.is_some());
        }
    }
    drill.claim(
        format!("{when}, no call fails"),
        calls > 0 && failed == 0,
        format!("{failed} of {calls}"),
    );
}

/// The share that is set, once every router serves what is set.
fn share_served(drill: &Rehearsal<'_>) -> Result<Option<f64>> {
    let status = drill.dspex(&["status"])?;
    let flags = &status["flags"];
    let served = flags["revision"] == flags["served_revision"];
    let share = flags["values"]["gradual_rollout_percentage"].as_f64();
    Ok(share.filter(|_| served))
}

/// What the migration had done last when its rollback began.
fn last_before(journal: &Journal) -> Option<Entry> {
    let before = journal
        .entries
        .iter()
        .take_while(|entry| entry.kind() != "rollback_began")
        .filter(|entry| {
            !matches!(
                entry.kind(),
                "commanded" | "ticked" | "watched" | "stage_left"
            )
        });
    before.last().cloned()
}

fn told(entry: &Entry) -> String {
    let step = entry.event["step"].as_str().unwrap_or_default();
    let percent = entry.event["percent"].to_string().replace("null", "");
    [entry.kind(), step, &percent].join(" ").trim().to_owned()
}

impl When {
    /// Whether a migration that has done this last, and is rolled back then, was in this state.
    fn is_told_by(self, last: &Entry) -> bool {
        let done = |step: &str| last.kind() == "step_done" && last.event["step"] == step;
        let at = |percent: f64| {
            let set = last.event["percent"].as_f64();
            last.kind() == "traffic_set" && set.is_some_and(|set| (set - percent).abs() < 1e-9)
        };
        match self {
            Self::AtOnce => true,
            Self::Deploying => done("backup"),
            Self::Verifying => done("deploy"),
            Self::Stage(percent) => at(percent),
            Self::Paused => last.kind() == "paused",
            Self::RollingBack => at(50.0),
            Self::Validating => last.kind() == "validation_began",
            Self::CompleteWarm => last.kind() == "completed",
            Self::CompleteCold => last.kind() == "rested",
            Self::Decommissioning("confirm") => last.kind() == "decommission_began",
            Self::Decommissioning("archive") => done("confirm"),
            Self::Decommissioning(_) => done("archive"),
        }
    }
}
