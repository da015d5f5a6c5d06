//! `rollback-everywhere`: a rollback is asked for in each state that a migration can be in.

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, callers};
use crate::drill::journal::Journal;
use crate::drill::rehearsal::Rehearsal;

/// How long after the command every router must have acknowledged 0 %.
const ZERO_WITHIN_MS: i128 = 2_000;

/// A candidate that takes two seconds to come up, so that a rollback can fall into its deployment.
const SETTINGS: &str = r#"
[pools.v2]
preload = ["slow_start"]
[migration]
stages = [
    { percent = "10%", hold = "500ms" },
    { percent = "50%", hold = "500ms" },
    { percent = "100%", hold = "2s" },
]
"#;

/// The states, in the order of a migration's way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// As soon as it was begun.
    AtOnce,
    Deploying,
    Stage(f64),
    Paused,
    Complete,
    /// While a rollback is under way already.
    RollingBack,
}

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(SETTINGS, &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    for when in [
        When::AtOnce,
        When::Deploying,
        When::Stage(10.0),
        When::Stage(50.0),
        When::Stage(100.0),
        When::Paused,
        When::RollingBack,
        When::Complete,
    ] {
        drill.migrate()?;
        reach(drill, when)?;
        drill.roll_back()?;
        let status = drill.until("the rollback", SOON, |status| !status.live())?;
        let journal = drill.keep_journal()?;
        let state = state_before(journal);
        drill.claim(
            format!("asked for {when:?}, everything is taken back"),
            status.phase == "rolled_back" && status.percent.abs() < 1e-9,
            format!("{} at {} %, from {state}", status.phase, status.percent),
        );
        let to_zero = crate::drill::judge::reaction(drill).and_then(|seen| seen.to_zero_ms);
        drill.claim(
            format!("asked for {when:?}, traffic is at 0 % within 2 s"),
            // The second rollback finds the work of the first done already.
            when == When::RollingBack || to_zero.is_some_and(|millis| millis <= ZERO_WITHIN_MS),
            to_zero.map_or("before it was asked for".to_owned(), |millis| {
                format!("{millis} ms")
            }),
        );
    }
    drill.rest(AFTERWARDS)
}

fn reach(drill: &mut Rehearsal<'_>, when: When) -> Result<()> {
    match when {
        When::AtOnce => {}
        When::Deploying => drop(drill.until_phase("deploy", SOON)?),
        When::Stage(percent) => drop(drill.until_share(percent, SOON)?),
        When::Paused => {
            drill.until_share(10.0, SOON)?;
            drill.steer("pause")?;
            drill.until("the pause", SOON, |status| !status.paused.is_null())?;
        }
        When::RollingBack => {
            drill.until_share(50.0, SOON)?;
            drill.steer("rollback")?;
        }
        When::Complete => drop(drill.until_phase("complete", SOON)?),
    }
    Ok(())
}

/// What the migration had done last when its rollback began.
fn state_before(journal: &Journal) -> String {
    let before = journal
        .entries
        .iter()
        .take_while(|entry| entry.kind() != "rollback_began")
        .filter(|entry| !matches!(entry.kind(), "commanded" | "ticked" | "stage_left"));
    before.last().map_or("nothing".to_owned(), |entry| {
        let step = entry.event["step"].as_str().unwrap_or_default();
        let percent = entry.event["percent"].to_string().replace("null", "");
        [entry.kind(), step, &percent].join(" ").trim().to_owned()
    })
}
