//! The drills themselves: a file for each, or for a few that differ in one thing.

use std::time::Duration;

use anyhow::Result;

use super::rehearsal::Rehearsal;
use crate::live::programs::Program;
use crate::live::traffic::Habits;

pub(super) mod again;
pub(super) mod bad_deploy;
pub(super) mod broken;
pub(super) mod clock_jump;
pub(super) mod controller_kill;
pub(super) mod decommission;
pub(super) mod emergency;
pub(super) mod happy;
pub(super) mod memory_leak;
pub(super) mod no_traffic;
pub(super) mod overload;
pub(super) mod pause_resume;
pub(super) mod provider_outage;
pub(super) mod rollback_everywhere;
pub(super) mod server_restart;
pub(super) mod session_affinity;
pub(super) mod store;
mod taken_back;

/// How long anything in a drill may take that takes seconds where things are well.
const SOON: Duration = Duration::from_secs(45);
/// How long stable serves alone before a migration begins: a baseline to compare with.
const BASELINE: Duration = Duration::from_secs(2);
/// How long traffic goes on after the end: what comes after it must hold, too.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Programs that need nothing but Python: one that may be repeated, one that must not, one with a
/// state. Calls of the first two stand for stateless callers.
const PLAIN: [Program; 3] = [Program::Callable, Program::Tally, Program::Order];

/// Twelve callers: enough to judge 10 % of them in seconds, few enough for two cores.
fn callers() -> Habits {
    Habits {
        seats: 12,
        ..Habits::default()
    }
}

/// The same, who try again for as long as a server takes to come back.
fn patient() -> Habits {
    Habits {
        patience: Duration::from_secs(40),
        ..callers()
    }
}

/// Which versions of which pools stand in the two lanes, such as `v1@1`; `none` where nothing does.
fn lanes(drill: &Rehearsal<'_>) -> Result<(String, String)> {
    let status = drill.dspex(&["status"])?;
    let stands = |lane: &str| {
        let pool = status["pools"][lane].as_str();
        pool.unwrap_or("none").to_owned()
    };
    Ok((stands("stable"), stands("candidate")))
}
