//! What becomes of a candidate that was broken: it is taken back, and its journal tells on whose word.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::AFTERWARDS;
use crate::drill::rehearsal::Rehearsal;
use crate::drill::took_place;

/// Why it was taken back.
pub(super) struct Cause(Value);

impl Cause {
    /// Whether nobody had to ask for it.
    pub(super) fn is_the_controller(&self) -> bool {
        self.0["by"] == "controller"
    }

    /// The controller's reasons, or a person's.
    pub(super) fn why(&self) -> &str {
        self.0["why"].as_str().unwrap_or_default()
    }
}

/// Waits for the rollback of a candidate that something is wrong with: `fault` says what, once it was
/// seen to strike. What is claimed of every such candidate is claimed here.
pub(super) fn taken_back(drill: &mut Rehearsal<'_>, fault: &str, limit: Duration) -> Result<Cause> {
    let status = drill.until("the rollback", limit, |status| !status.live())?;
    drill.claim(
        "the candidate is taken back",
        status.phase == "rolled_back",
        &status.phase,
    );
    drill.rest(AFTERWARDS)?;
    drill.note_first_fault();
    let struck = usize::from(!drill.triggers.is_empty());
    drill.claims.push(took_place(fault, struck));
    let journal = drill.keep_journal()?;
    let began = journal.first("rollback_began");
    let cause = began.map_or(Value::Null, |entry| entry.event["cause"].clone());
    Ok(Cause(cause))
}
