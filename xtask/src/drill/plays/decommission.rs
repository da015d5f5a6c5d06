//! `decommission`: the old pool goes for good, under traffic, and does not come back.

use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::judge::carriers;
use crate::drill::rehearsal::Rehearsal;
use crate::live::ledger::Lane;

/// The old pool is kept for a second, and may go after three.
const SETTINGS: &str = r#"
[migration]
stages = [
    { percent = "50%", hold = "1s" },
    { percent = "100%", hold = "2s" },
]
[migration.retention]
warm = "1s"
decommission_after = "3s"
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.open(SETTINGS, &PLAIN)?;
    drill.crowd(patient())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    let (code, _, error) = drill.decommission()?;
    drill.claim(
        "a pool that still serves may not go",
        code != Some(0),
        format!("{code:?}: {}", error.trim()),
    );
    let status = drill.until("the end", SOON, |status| !status.live())?;
    drill.claim(
        "all traffic has moved",
        status.phase == "complete",
        &status.phase,
    );
    // Long enough to have been seen healthy at 100 % for as long as is wanted.
    drill.rest(Duration::from_secs(8))?;
    let (code, _, error) = drill.decommission()?;
    drill.claim(
        "the old pool may go",
        code == Some(0),
        format!("{code:?}: {}", error.trim()),
    );
    let status = drill.until("the old pool's end", SOON, |status| {
        status.phase != "decommission"
    })?;
    drill.claim(
        "it is decommissioned",
        status.phase == "decommissioned",
        &status.phase,
    );
    let old = old_workers(drill);
    drill.claim("none of its workers is left", old.is_empty(), listed(&old));
    drill.rest(AFTERWARDS)?;

    drill.terminate()?;
    drill.start_again()?;
    drill.rest(AFTERWARDS)?;
    let old = old_workers(drill);
    drill.claim(
        "after a restart the new pool serves, although the file says that the old one does",
        old.is_empty(),
        listed(&old),
    );
    let since = drill.aways.last().map_or(Duration::ZERO, |away| away.back);
    let answered = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.started > since && sample.lane == Some(Lane::Stable))
        .count();
    drill.claim("and it serves as the stable lane", answered > 0, answered);
    Ok(())
}

/// Workers of pool V1: they alone speak the bridge protocol.
fn old_workers(drill: &Rehearsal<'_>) -> Vec<String> {
    let mut workers = carriers(drill.folder());
    workers.retain(|command| command.contains("bridge"));
    workers
}

fn listed(workers: &[String]) -> String {
    if workers.is_empty() {
        "none".to_owned()
    } else {
        workers.join(", ")
    }
}
