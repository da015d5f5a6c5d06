//! `bad-deploy`: the candidate never becomes ready.

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, callers};
use crate::drill::rehearsal::Rehearsal;

/// Workers that are given two seconds to import a module whose import does not end.
const SETTINGS: &str = r#"
[pools.v2]
preload = ["never_ready"]
start_timeout = "2s"
[migration]
step_limit = "15s"
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(SETTINGS, &PLAIN)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.reacts_to("the candidate was asked for");
    drill.migrate()?;
    let status = drill.until("the end", SOON, |status| !status.live())?;
    drill.claim(
        "the candidate is taken back",
        status.phase == "rolled_back",
        &status.phase,
    );
    let outcome = status.outcome.unwrap_or_default();
    drill.claim(
        "the outcome says that it was not deployed",
        outcome.contains("deploy"),
        outcome,
    );
    drill.rest(AFTERWARDS)?;
    let moved = drill.keep_journal()?.count("traffic_set");
    drill.claim("no traffic was ever sent to it", moved == 0, moved);
    let answered = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.side() == Some(crate::live::ledger::Lane::Candidate))
        .count();
    drill.claim("no call was routed to it", answered == 0, answered);
    Ok(())
}
