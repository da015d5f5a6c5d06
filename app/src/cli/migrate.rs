//! `dspex migrate`: moves live traffic from the stable pool to the candidate, and back.

mod backtest;
mod decommission;
mod emergency;
mod plan;
mod record;
mod report;
mod show;
mod simulate;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use dspex_migration::ChecklistLine;
use serde_json::{Value, json};

pub(crate) use self::decommission::Decommission;
use self::emergency::{Ask, Emergency};
use super::client::{Client, Remote};
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::style::Paint;
use super::who::Who;

/// Move live traffic from the stable pool to the candidate, and back.
#[derive(Debug, Args)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Asked(Asked),
    #[command(flatten)]
    Alone(Alone),
}

/// What a server is asked for.
#[derive(Debug, Subcommand)]
enum Asked {
    /// Start a migration.
    Start(Start),
    /// Show the current migration, or the last one.
    Status,
    /// Print a line for each change until the end: 0 complete, 1 rolled back.
    Watch(watch::Watch),
    /// Say yes to leaving the stage, where its gate waits for a person.
    Approve(Because),
    /// Go to the next stage without waiting for its hold.
    Promote(Promote),
    /// Take all traffic back to stable.
    Rollback(Because),
    /// Stand for a line of the production checklist, in the newest migration's journal.
    Sign(Sign),
    /// List migrations, the newest first.
    History {
        /// At most so many.
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
    },
    /// Print the journal of a migration.
    Events(Events),
}

/// What can be done without one.
#[derive(Debug, Subcommand)]
enum Alone {
    /// Show what a migration would do: stages, holds, rules; with --simulate, what it would see.
    Plan(plan::Plan),
    /// Judge a recorded run again by other rules: would they have rolled back, and when? Asks no server.
    Backtest(backtest::Backtest),
    /// Hold at the current stage; where the server does not answer, by the store alone.
    Pause(Halt),
    /// Go on after a pause; where the server does not answer, by the store alone.
    Resume(Halt),
    /// What is to be learnt from a migration, as Markdown, HTML or JSON.
    Report(report::Report),
    /// Traffic to 0 % by the store alone, for when the server does not answer. A server that lives obeys.
    EmergencyRollback(Emergency),
    /// Pause by the store alone.
    EmergencyPause(Emergency),
    /// Resume by the store alone.
    EmergencyResume(Emergency),
}

/// A pause or its end.
#[derive(Debug, Args)]
struct Halt {
    /// Ask no server: leave it in the store of the configured data directory.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    act: Emergency,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex migrate start --why 'Python 3.13' && dspex migrate watch
  dspex migrate start --why 'rehearsal' --time-scale 600 --watch")]
struct Start {
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
    /// Divides every hold: 3600 makes seconds of hours, for rehearsals.
    #[arg(long, value_parser = scale, value_name = "FACTOR")]
    time_scale: Option<f64>,
    /// The pool to bring in; the configured candidate where it is not given.
    #[arg(long, value_name = "POOL")]
    candidate: Option<String>,
    /// Then watch it until the end.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
struct Because {
    /// Why, for the journal.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "asked for on the command line"
    )]
    why: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
struct Promote {
    /// Straight to the last stage.
    #[arg(long)]
    to_end: bool,
    #[command(flatten)]
    because: Because,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dspex migrate sign cost --why 'half the memory at the same load'")]
struct Sign {
    /// Which line, as the checklist names it.
    #[arg(value_name = "LINE")]
    line: ChecklistLine,
    /// Why you may, for the journal.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, Args)]
struct Events {
    /// The migration; the current or last one where it is not given.
    id: Option<String>,
    /// Only events after this number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    after: u64,
}

/// A factor that holds can be divided by.
fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale > 0.0 => Ok(scale),
        _ => Err("write a number above 0".to_owned()),
    }
}

const MIGRATIONS: [&str; 3] = ["admin", "v1", "migrations"];
const CURRENT: [&str; 4] = ["admin", "v1", "migrations", "current"];

/// How long a server is waited for where there is another way.
const BRIEFLY: Duration = Duration::from_secs(10);

impl Migrate {
    /// Does it.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Asked(verb) => verb.run(&self.remote.client()?, output).await,
            Verb::Alone(verb) => verb.run(self.remote, output).await,
        }
    }
}

impl Alone {
    async fn run(self, remote: Remote, output: Output) -> Result<(), Failure> {
        match self {
            Self::Plan(plan) => plan.run(&remote, output).await,
            Self::Backtest(backtest) => backtest.run(output).await,
            Self::Pause(halt) => halt.run(Ask::Pause, remote, output).await,
            Self::Resume(halt) => halt.run(Ask::Resume, remote, output).await,
            Self::Report(report) => report.run(&remote, output).await,
            Self::EmergencyRollback(act) => act.run(Ask::Rollback, output).await,
            Self::EmergencyPause(act) => act.run(Ask::Pause, output).await,
            Self::EmergencyResume(act) => act.run(Ask::Resume, output).await,
        }
    }
}

impl Halt {
    async fn run(self, ask: Ask, remote: Remote, output: Output) -> Result<(), Failure> {
        if self.offline {
            return self.act.run(ask, output).await;
        }
        let local = remote.is_local();
        let client = remote.patient_for(BRIEFLY).client()?;
        let asked = command(&client, output, ask.verb(), self.act.body()).await;
        match asked {
            // Only here: another machine's server has another store.
            Err(failure) if failure.exit == Exit::Unreachable && local => {
                output.note(&format!("{}; leaving it in the store", failure.message));
                match self.act.run(ask, output).await {
                    Err(none) if none.exit == Exit::Unfit => Err(failure.hint(none.message)),
                    done => done,
                }
            }
            asked => asked,
        }
    }
}

impl Asked {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        match self {
            Self::Start(start) => start.run(client, output).await,
            Self::Status => {
                let body = record::current(client).await?;
                let status = record::read_status(&body)?;
                output.either(&body, |paint| show::status(status.as_ref(), paint))
            }
            Self::Watch(watch) => watch.run(client, output).await,
            Self::Approve(because) => command(client, output, "approve", because.body()).await,
            Self::Rollback(because) => {
                let asked = command(client, output, "rollback", because.body()).await;
                asked.map_err(|failure| match failure.exit {
                    Exit::Unreachable => failure.hint(
                        "on the server's machine, `dspex migrate emergency-rollback` takes traffic to 0 % \
                         without it",
                    ),
                    _ => failure,
                })
            }
            Self::Promote(promote) => {
                let mut body = promote.because.body();
                body["to_end"] = promote.to_end.into();
                command(client, output, "promote", body).await
            }
            Self::Sign(sign) => {
                let body = json!({"line": sign.line, "why": sign.why, "who": sign.who.name()});
                command(client, output, "sign", body).await
            }
            Self::History { limit } => {
                let request = client.get(&MIGRATIONS).query("limit", &limit.to_string());
                let body = request.json().await?;
                let migrations = record::read_history(&body)?;
                output.either(&body, |paint| show::history(&migrations, paint))
            }
            Self::Events(events) => {
                let id = match events.id {
                    Some(id) => id,
                    None => record::current_id(client).await?,
                };
                let body = record::all_events(client, &id, events.after).await?;
                let events = record::read_events(&body)?;
                output.either(&body, |paint| show::events(&events, paint))
            }
        }
    }
}

impl Because {
    fn body(self) -> Value {
        json!({"why": self.why, "who": self.who.name()})
    }
}

impl Start {
    async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut body = json!({"why": self.why, "who": self.who.name()});
        if let Some(scale) = self.time_scale {
            body["time_scale"] = scale.into();
        }
        if let Some(candidate) = self.candidate {
            body["candidate"] = candidate.into();
        }
        let body = client.post(&MIGRATIONS).body(body).json().await?;
        if self.watch {
            return watch::Watch::default().run(client, output).await;
        }
        output.either(&body, |_| show::started(&body))
    }
}

/// Asks the migration for something; what it did then is in its status.
async fn command(
    client: &Client,
    output: Output,
    verb: &'static str,
    body: Value,
) -> Result<(), Failure> {
    let path = [&CURRENT[..], &[verb]].concat();
    let body = client.post(&path).body(body).json().await?;
    let status = record::read_status(&body)?;
    output.either(&body, |paint| show::commanded(verb, status.as_ref(), paint))
}

/// The migration in a server's status, in one line.
pub(crate) fn summary(migration: &Value, paint: Paint) -> Result<String, Failure> {
    Ok(match record::read_status(migration)? {
        Some(status) => show::summary(&status, paint),
        None => show::NONE.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_names_a_line_and_says_why() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            sign: Sign,
        }
        let parsed = |words: &[&str]| {
            let words = ["sign"].iter().chain(words);
            <Line as clap::Parser>::try_parse_from(words)
        };
        let signed = parsed(&["peak-load", "--why", "seen", "--who", "ada"]).unwrap();
        assert_eq!(signed.sign.line.as_str(), "peak-load");
        assert_eq!(
            (signed.sign.why.as_str(), signed.sign.who.name().as_str()),
            ("seen", "ada")
        );
        let wrong = parsed(&["Peak load", "--why", "seen"])
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("1 to 64 characters"), "{wrong}");
        let silent = parsed(&["peak-load"]).unwrap_err().to_string();
        assert!(silent.contains("--why"), "{silent}");
    }

    #[test]
    fn a_time_scale_is_a_number_above_nothing() {
        assert_eq!(scale("3600"), Ok(3600.0));
        assert_eq!(scale("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(scale(text).is_err(), "{text} must be refused");
        }
    }
}
