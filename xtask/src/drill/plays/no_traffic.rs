//! `no-traffic`: nobody calls, and nothing may advance.

use std::time::Duration;

use anyhow::Result;

use super::{PLAIN, SOON};
use crate::drill::rehearsal::Rehearsal;

/// Ten times the stage's hold.
const STAND_STILL: Duration = Duration::from_secs(20);

const STAGES: &str = r#"
[migration]
stages = [{ percent = "10%", hold = "2s" }, { percent = "100%", hold = "2s" }]
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(STAGES, &PLAIN)?;
    drill.watch_only();
    drill.migrate()?;
    drill.until_share(10.0, SOON)?;
    drill.rest(STAND_STILL)?;
    let status = drill.until("a look", SOON, |_| true)?;
    let still = status.phase == "rollout" && (status.percent - 10.0).abs() < 1e-9;
    let at = format!("{} at {} %", status.phase, status.percent);
    drill.claim("the stage is not left", still, at);
    let healthy = status.healthy_for.as_str().unwrap_or_default().to_owned();
    drill.claim("the stage has not aged", healthy.starts_with('0'), healthy);
    let verdict = status.verdict();
    let says = status.reasons.join("; ");
    drill.claim(
        "the verdict is inconclusive, and says what it lacks",
        verdict.starts_with("inconclusive") && says.contains("calls"),
        format!("{verdict}; {says}"),
    );
    drill.roll_back()?;
    let status = drill.until("the rollback", SOON, |status| !status.live())?;
    drill.claim(
        "it can be taken back all the same",
        status.phase == "rolled_back",
        &status.phase,
    );
    Ok(())
}
