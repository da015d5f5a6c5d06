//! `server-restart`: the server is stopped and started in order, twice, in the middle of a stage.

use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::rehearsal::Rehearsal;

/// How long the server stays away: longer than a stage's hold.
const AWAY: Duration = Duration::from_secs(4);

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open("", &PLAIN)?;
    drill.crowd(patient())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    for percent in [10.0, 50.0] {
        drill.until_share(percent, SOON)?;
        let before = drill.until("a look", SOON, |_| true)?;
        drill.terminate()?;
        drill.rest(AWAY)?;
        drill.start_again()?;
        let after = drill.until("a look", SOON, |_| true)?;
        // It may have gone on by the time it is asked, but not by more than one stage.
        let same = after.phase == "rollout" && after.percent >= before.percent;
        drill.claim(
            "it goes on where it was",
            same && after.id == before.id,
            format!("{} % before, {} % after", before.percent, after.percent),
        );
    }
    let status = drill.until("the end", SOON, |status| !status.live())?;
    drill.claim(
        "it comes to its end",
        status.phase == "complete",
        &status.phase,
    );
    drill.rest(AFTERWARDS)
}
