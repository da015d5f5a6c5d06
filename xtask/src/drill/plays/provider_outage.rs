//! `provider-outage`: the model fails for both lanes.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{AFTERWARDS, BASELINE, SOON, callers};
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;
use crate::live::programs::Program;

/// Longer than it takes to judge a candidate.
const OUTAGE: Duration = Duration::from_secs(15);

const SETTINGS: &str = r#"
[pools.v2]
preload = ["dspy"]
[migration]
stages = [
    { percent = "10%", hold = "1s" },
    { percent = "50%", hold = "20s" },
    { percent = "100%", hold = "2s" },
]
"#;

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    let setup = drill.setup;
    let model = setup
        .model
        .as_ref()
        .context("there is no model that could fail")?;
    drill.allow(
        "the model's provider is down, for both lanes: there is nobody who could answer",
        |sample| {
            let name = sample
                .failure
                .as_ref()
                .and_then(|failure| failure.problem.as_deref());
            name == Some("provider-failed")
        },
    );
    let programs = [Program::Predict, Program::Callable, Program::ChainOfThought];
    drill.open(SETTINGS, &programs)?;
    drill.crowd(callers())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    drill.until_share(50.0, SOON)?;
    model.fail_with(Some(500))?;
    let rested = drill.rest(OUTAGE);
    let during = drill.until("a look", SOON, |_| true);
    // Whatever comes of it: the next drill asks the same model.
    model.fail_with(None)?;
    rested?;
    let during = during?;
    let stays = during.phase == "rollout" && during.percent >= 50.0;
    drill.claim(
        "during the outage nothing is rolled back",
        stays,
        format!(
            "{} at {} %: {}",
            during.phase,
            during.percent,
            during.verdict()
        ),
    );
    let failed = drill
        .ledger
        .samples()
        .iter()
        .filter(|sample| sample.failure.is_some())
        .count();
    drill
        .claims
        .push(took_place("calls failed by the provider", failed));
    let status = drill.until("the end", SOON * 2, |status| !status.live())?;
    drill.claim(
        "after it the migration comes to its end",
        status.phase == "complete",
        &status.phase,
    );
    drill.rest(AFTERWARDS)
}
