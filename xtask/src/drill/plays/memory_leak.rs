//! `memory-leak`: the candidate's workers keep what they should give back.

use std::time::Duration;

use anyhow::Result;

use super::taken_back::taken_back;
use super::{BASELINE, PLAIN, SOON, callers};
use crate::drill::rehearsal::Rehearsal;

/// The shortest stretch that pool V2 says anything of, and as much again.
const LIMIT: Duration = Duration::from_secs(100);

/// From V2 to V2: V1 does not measure its workers, and where stable is not measured a leak may be the
/// program's, so that a person decides.
const SETTINGS: &str = r#"
[lanes]
stable = "steady"
candidate = "v2"
[pools.steady]
kind = "pool-v2"
workers = 2
concurrency = 8
leak = { sample_every = "1s", warm_up = "1s", warm_up_calls = 5, minimum_span = "48s" }
[pools.v2]
leak = { sample_every = "1s", warm_up = "1s", warm_up_calls = 5, minimum_span = "48s" }
[migration]
stages = [
    { percent = "50%", hold = "10m" },
    { percent = "100%", hold = "10m" },
]
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(SETTINGS, &PLAIN)?;
    drill.faults("leak=0.05")?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(50.0, SOON)?;
    let cause = taken_back(drill, "memory was kept", LIMIT)?;
    drill.claim(
        "it is the memory that speaks against it",
        cause.is_the_controller() && cause.why().contains("memory"),
        cause.why(),
    );
    Ok(())
}
