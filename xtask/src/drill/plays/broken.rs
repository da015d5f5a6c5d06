//! `error-spike`, `latency`, `worker-crashes`, `hang`: a candidate that was well breaks at its second
//! stage, each time in another way, and must be taken back.

use std::time::Duration;

use anyhow::Result;

use super::taken_back::taken_back;
use super::{BASELINE, PLAIN, SOON, callers};
use crate::drill::rehearsal::Rehearsal;
use crate::live::ledger::{Kind, Sample};

/// How long a broken candidate may keep its traffic: far below the hold of any real stage.
const WITHIN: Duration = Duration::from_secs(20);

/// How long where its workers die, which is beyond all doubt: one look's interval (200 ms here) and a second.
const AT_ONCE: Duration = Duration::from_millis(1_200);

/// The second stage lasts until the candidate is taken back, or the drill has failed.
const STAGES: &str = r#"
[migration]
stages = [
    { percent = "10%", hold = "1s" },
    { percent = "25%", hold = "10m" },
    { percent = "100%", hold = "10m" },
]
"#;

pub(in crate::drill) fn error_spike(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.allow(
        "a program that raises has run, and its exception is the answer: nobody may run it again \
         behind its caller's back",
        |sample| problem(sample) == Some("program-failed"),
    );
    play(drill, "raise=0.4", WITHIN)
}

pub(in crate::drill) fn latency(drill: &mut Rehearsal<'_>) -> Result<()> {
    play(drill, "slow=1", WITHIN)
}

pub(in crate::drill) fn worker_crashes(drill: &mut Rehearsal<'_>) -> Result<()> {
    allow_lost_orders(drill);
    play(drill, "crash=0.1", AT_ONCE)
}

pub(in crate::drill) fn hang(drill: &mut Rehearsal<'_>) -> Result<()> {
    allow_lost_orders(drill);
    play(drill, "stall=0.2", WITHIN)
}

/// A worker that is lost takes all its calls along, those too that must not be repeated.
fn allow_lost_orders(drill: &mut Rehearsal<'_>) {
    drill.allow(
        "the call may have run in the worker that was lost, and must not be repeated: its caller is \
         told so, and nobody runs it twice",
        |sample| {
            let lost = ["worker-crashed", "worker-hung", "program-timeout"];
            sample.program == "order" && problem(sample).is_some_and(|name| lost.contains(&name))
        },
    );
}

fn problem(sample: &Sample) -> Option<&str> {
    let failure = sample.failure.as_ref()?;
    (failure.kind == Kind::Error).then_some(failure.problem.as_deref()?)
}

fn play(drill: &mut Rehearsal<'_>, faults: &str, within: Duration) -> Result<()> {
    drill.open(STAGES, &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(25.0, SOON)?;
    // Some of it must be seen healthy first: what follows is a change, and is noticed as one.
    drill.until("a healthy look", SOON, |status| {
        status.verdict().starts_with("healthy")
    })?;
    drill.faults(faults)?;
    let cause = taken_back(drill, "a fault struck", within + SOON)?;
    drill.claim(
        "it is the controller who notices",
        cause.is_the_controller(),
        cause.why(),
    );
    let reaction = crate::drill::judge::reaction::newest(drill);
    let zeroed = reaction.and_then(|reaction| reaction.to_zero_ms);
    drill.claim(
        format!(
            "traffic is at 0 % within {} s of the first fault",
            within.as_secs_f64()
        ),
        zeroed.is_some_and(|millis| millis <= i128::try_from(within.as_millis()).unwrap_or(0)),
        zeroed.map_or("never".to_owned(), |millis| format!("{millis} ms")),
    );
    Ok(())
}
