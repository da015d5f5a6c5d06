//! `dspex decommission`: takes the old pool out of service, for good.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use serde_json::json;

use super::record::{self, Status};
use super::watch::Watch;
use super::{CURRENT, show};
use crate::cli::client::Remote;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{Format, Output};
use crate::cli::who::Who;

/// Take the old pool out of service, for good, once a migration is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Its configuration, metrics, the journal, its workers' last states and every recorded look of the
migrations that it took part in are archived first; then the candidate is stable, so that the next
migration starts from there, and the old pool's workers end. Once the archive is proven, recorded
looks of earlier migrations leave the database, and half-made files that killed processes left in
the data directory are removed. The pool's versions, all journals and this migration's looks stay.
Log lines are not archived: they went to the server's standard error. What the server measured
before it let the pool go is printed.
Exit codes: 0 it is gone, 1 it stays, 5 it may not go yet.")]
pub(crate) struct Decommission {
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
    /// Do not ask again.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

impl Decommission {
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let client = self.remote.client()?;
        let status = record::read_status(&record::current(&client).await?)?;
        let Some(status) = status.filter(|status| !status.id.is_empty()) else {
            return Err(Failure::new(Exit::Refused, show::NONE));
        };
        if !self.yes {
            agreed(&status, output)?;
        }
        let path = [&CURRENT[..], &["decommission"]].concat();
        let body = json!({"why": self.why, "who": self.who.name()});
        client.post(&path).body(body).json().await?;
        let ended = Watch::default()
            .follow(&client, &status.id, status.last_seq, output)
            .await;
        if ended.is_ok() && !output.json {
            let now = record::read_status(&record::current(&client).await?)?;
            if let Some(archive) = now.and_then(|status| status.archive) {
                output.line(&format!("archived in {}", archive.place))?;
            }
        }
        ended
    }
}

/// Asks a person; a script must say `--yes`.
fn agreed(status: &Status, output: Output) -> Result<(), Failure> {
    let (stable, candidate) = (&status.stable, &status.candidate);
    let question = format!(
        "{stable} is stopped for good, and {candidate} becomes stable; there is no way back."
    );
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(question).hint("say --yes where nobody can be asked"));
    }
    output.note(&question);
    let mut err = std::io::stderr();
    let _ = write!(err, "Go on? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Refused, "nothing was done")),
    }
}
