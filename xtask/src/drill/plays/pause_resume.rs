//! `pause-resume`: a person stops a migration in a stage and lets it go on.

use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, callers};
use crate::drill::rehearsal::Rehearsal;

/// Longer than the stage's whole hold.
const PAUSE: Duration = Duration::from_secs(6);

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open("", &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(25.0, SOON)?;
    // Only a stage that has aged can be seen not to age.
    drill.until("healthy time", SOON, |status| {
        status.percent >= 25.0 && status.healthy_for != "0s"
    })?;
    drill.steer("pause")?;
    let paused = drill.until("the pause", SOON, |status| !status.paused.is_null())?;
    drill.rest(PAUSE)?;
    let after = drill.until("a look", SOON, |_| true)?;
    let same = (after.percent - paused.percent).abs() < 1e-9 && after.phase == "rollout";
    drill.claim(
        "paused, traffic stays where it is",
        same,
        format!("{} %, then {} %", paused.percent, after.percent),
    );
    drill.claim(
        "paused, the stage does not age",
        after.healthy_for == paused.healthy_for,
        format!("{} before, {} after", paused.healthy_for, after.healthy_for),
    );
    drill.steer("resume")?;
    let status = drill.until("the end", SOON, |status| !status.live())?;
    drill.claim(
        "it goes on to its end",
        status.phase == "complete",
        &status.phase,
    );
    drill.rest(AFTERWARDS)
}
