//! `emergency`: traffic is taken back by the store alone, while the server lives, hangs, and is gone.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::{AFTERWARDS, BASELINE, PLAIN, SOON, patient};
use crate::drill::rehearsal::Rehearsal;
use crate::live::ledger::{Kind, Lane};

const STAGES: &str = r#"
[migration]
stages = [
    { percent = "10%", hold = "500ms" },
    { percent = "50%", hold = "10m" },
    { percent = "100%", hold = "10m" },
]
"#;

/// How long the stage serves before the server is done something to.
const SERVED: Duration = Duration::from_secs(1);

/// How the server is when it is asked by the store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    Lives,
    Hangs,
    IsGone,
}

pub(in crate::drill) fn play(drill: &mut Rehearsal<'_>) -> Result<()> {
    drill.allow(
        "the connection ended under the call when the server was killed, and the call must not be \
         repeated: its caller cannot know whether it ran",
        |sample| {
            let cut = matches!(&sample.failure, Some(failure) if failure.kind == Kind::Cut);
            sample.program == "order" && cut
        },
    );
    drill.open(STAGES, &PLAIN)?;
    drill.crowd(patient())?;
    drill.rest(BASELINE)?;
    for server in [Server::Lives, Server::Hangs, Server::IsGone] {
        drill.migrate()?;
        drill.until_share(50.0, SOON)?;
        // The sides that calls are on are judged where the server was well, too.
        drill.rest(SERVED)?;
        match server {
            Server::Lives => {}
            Server::Hangs => drill.signal(Signal::STOP)?,
            Server::IsGone => drill.kill()?,
        }
        let asked = drill.ledger.now();
        let (code, out, error) = drill.emergency_rollback(Duration::from_secs(3))?;
        if server == Server::Lives {
            // The command writes the flags, and the server's router obeys them a moment before its controller
            // has written down that they fell: what sessions do in between is this drill's own doing.
            drill.unseen.push((asked, drill.ledger.now()));
        }
        // A server that hangs cannot obey, and that is said: it has to be ended by hand.
        let wanted = if server == Server::Hangs { 1 } else { 0 };
        drill.claim(
            format!("emergency-rollback ends with {wanted} where the server {server:?}"),
            code == Some(wanted),
            format!("{code:?}: {} {}", out.trim(), error.trim()),
        );
        let written =
            out.contains("\"flags_revision\":") && !out.contains("\"flags_revision\":null");
        drill.claim("traffic is at 0 % in the store", written, out.trim());
        let from = drill.ledger.now();
        if server == Server::Hangs {
            drill.kill()?;
        }
        if server != Server::Lives {
            drill.start_again()?;
        }
        let status = drill.until("the rollback", SOON, |status| !status.live())?;
        drill.claim(
            format!("the server {server:?}: afterwards the migration is rolled back"),
            status.phase == "rolled_back",
            &status.phase,
        );
        drill.rest(AFTERWARDS)?;
        let sent = drill
            .ledger
            .samples()
            .iter()
            .filter(|sample| sample.started > from && sample.side() == Some(Lane::Candidate))
            .count();
        drill.claim(
            format!("the server {server:?}: no call goes to the candidate after the command"),
            sent == 0,
            sent,
        );
        drill.keep_journal()?;
    }
    Ok(())
}
