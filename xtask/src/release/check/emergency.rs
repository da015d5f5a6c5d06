//! The scripts for the moment when something is wrong, on a migration that is under way.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::run::{Serving, wait};
use crate::process::{Group, last_lines};

/// The first stage holds for six minutes at this scale: nothing but the scripts moves traffic.
const TIME_SCALE: &str = "10";
/// The candidate is brought up and verified within it.
const SOON: Duration = Duration::from_secs(120);
/// Sessions that are looked at before and after: of a share of 5 %, none is met by chance once in 30,000.
const SESSIONS: u32 = 200;

/// Starts a migration, holds it, lets it go on, and takes its traffic back, each by its script.
pub(super) fn scripts(serving: &Serving<'_>) -> Result<String> {
    let why = [
        "the emergency scripts are checked",
        "--time-scale",
        TIME_SCALE,
    ];
    let (mut migrating, log) = serving.begin("bin/migrate_pool", &why)?;
    let mut until =
        |what: &str, wanted: &dyn Fn(&Value) -> bool| until(serving, &mut migrating, what, wanted);
    until("traffic on the candidate", &|migration| {
        migration["phase"] == "rollout"
            && migration["percent"].as_f64().unwrap_or_default() > 0.0
            && migration["acknowledged"] == true
    })?;
    if on_the_candidate(serving)? == 0 {
        bail!("none of {SESSIONS} sessions is on the candidate");
    }
    act(serving, "bin/pause_rollout")?;
    until("the pause", &|migration| !migration["paused"].is_null())?;
    act(serving, "bin/resume_rollout")?;
    until("the end of the pause", &|migration| {
        migration["paused"].is_null()
    })?;
    act(serving, "bin/emergency_rollback")?;
    let left = on_the_candidate(serving)?;
    if left > 0 {
        bail!("{left} of {SESSIONS} sessions are on the candidate after bin/emergency_rollback");
    }
    // Whoever waits for the migration is told that it was not to be.
    match wait(&mut migrating, serving.interrupt)? {
        1 => {}
        code => bail!(
            "bin/migrate_pool ended with {code} after a rollback:\n{}",
            last_lines(&log, 8)
        ),
    }
    let migration = serving.get("/admin/v1/migrations/current")?;
    if migration["phase"] != "rolled_back" {
        bail!("after bin/emergency_rollback the migration is {migration}");
    }
    Ok("held, let go on, taken back to 0 %".to_owned())
}

fn act(serving: &Serving<'_>, script: &str) -> Result<()> {
    let config = serving.config.to_string_lossy();
    let (mut acting, log) = serving.begin(script, &["a check", "--config", &config])?;
    match wait(&mut acting, serving.interrupt)? {
        0 => Ok(()),
        code => bail!("{script} ended with {code}:\n{}", last_lines(&log, 8)),
    }
}

fn on_the_candidate(serving: &Serving<'_>) -> Result<usize> {
    let mut count = 0;
    for session in 0..SESSIONS {
        if serving.lane(&format!("looked at {session}"))? == "candidate" {
            count += 1;
        }
    }
    Ok(count)
}

fn until(
    serving: &Serving<'_>,
    migrating: &mut Group,
    what: &str,
    wanted: &dyn Fn(&Value) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        // There is none yet while the script starts it.
        let migration = serving.get("/admin/v1/migrations/current");
        if migration.as_ref().is_ok_and(wanted) {
            return Ok(());
        }
        if let Some(status) = migrating.ended() {
            bail!("bin/migrate_pool ended ({status}) before {what}: {migration:?}");
        }
        if Instant::now() > deadline {
            bail!("no {what} within {SOON:?}: {migration:?}");
        }
        serving.interrupt.sleep(Duration::from_millis(100))?;
    }
}
