//! `happy`: all stages, with DSPy.

use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, callers};
use crate::drill::rehearsal::Rehearsal;
use crate::live::programs::Program;

const STAGES: &str = r#"
[pools.v2]
preload = ["dspy"]
[migration]
stages = [
    { percent = "5%", hold = "3s" },
    { percent = "10%", hold = "3s" },
    { percent = "25%", hold = "3s" },
    { percent = "50%", hold = "3s" },
    { percent = "75%", hold = "3s" },
    { percent = "100%", hold = "3s" },
]
[migration.validation]
run = "quick"
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    let programs = [
        Program::Predict,
        Program::Callable,
        Program::ChainOfThought,
        Program::Tally,
        Program::Order,
    ];
    drill.open(STAGES, &programs)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    // The validation after the last stage included.
    let limit = Duration::from_secs(240);
    let status = drill.until("the end", limit, |status| !status.live())?;
    drill.claim(
        "all traffic has moved",
        status.phase == "complete",
        &status.phase,
    );
    drill.rest(AFTERWARDS)?;
    let journal = drill.keep_journal()?;
    let entered = journal.count("stage_entered");
    let backward = journal.count("rollback_began");
    drill.claim("each of the six stages was entered", entered == 6, entered);
    drill.claim("nothing was taken back", backward == 0, backward);
    Ok(())
}
