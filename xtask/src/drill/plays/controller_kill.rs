//! `controller-kill`: kill -9 to the server at random moments of one migration.

use std::time::Duration;

use anyhow::Result;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::chance::Chance;
use crate::drill::rehearsal::Rehearsal;
use crate::live::ledger::Kind;

/// Shortest and longest life of a server once it is ready.
const LIFE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1500));

/// The last stage is longer than the lives that are left for it.
const STAGES: &str = r#"
[migration]
stages = [
    { percent = "10%", hold = "2s" },
    { percent = "25%", hold = "2s" },
    { percent = "50%", hold = "2s" },
    { percent = "100%", hold = "10s" },
]
"#;

/// Where the kills fall: from the beginning on, and from each of these shares on.
const FROM: [f64; 4] = [0.0, 25.0, 50.0, 100.0];

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.allow(
        "the connection ended under the call when the server was killed, and the call must not be \
         repeated: its caller cannot know whether it ran",
        |sample| {
            let cut = matches!(&sample.failure, Some(failure) if failure.kind == Kind::Cut);
            sample.program == "order" && cut
        },
    );
    let kills = if drill.is_short() { 4 } else { 20 };
    let mut chance = Chance::new(drill.seed);
    drill.open(STAGES, &PLAIN)?;
    drill.crowd(patient())?;
    drill.rest(BASELINE)?;
    drill.migrate()?;
    let mut killed_in = Vec::new();
    for from in FROM {
        if from > 0.0 {
            drill.until_share(from, SOON)?;
        }
        for _ in 0..kills / FROM.len() {
            drill.rest(chance.between(LIFE.0, LIFE.1))?;
            killed_in.push(drill.last_seen());
            drill.kill()?;
            drill.start_again()?;
        }
    }
    let status = drill.until("the end", Duration::from_secs(60), |status| !status.live())?;
    drill.claim(
        "it comes to its end all the same",
        status.phase == "complete",
        &status.phase,
    );
    let within = killed_in
        .iter()
        .filter(|seen| !seen.starts_with("complete"))
        .count();
    drill.claim(
        format!("all {kills} kills fell into the migration"),
        within == kills,
        killed_in.join(", "),
    );
    drill.rest(AFTERWARDS)?;
    let journal = drill.keep_journal()?;
    let (started, completed) = (journal.count("started"), journal.count("completed"));
    drill.claim(
        "it was one migration, begun once and ended once",
        (started, completed) == (1, 1),
        format!("{started} begun, {completed} complete"),
    );
    Ok(())
}
