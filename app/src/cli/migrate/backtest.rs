//! `dspex migrate backtest`: would other rules have rolled a recorded run back, and when?
//!
//! Invariant: the store alone is read, so this works whether or not a server runs, and changes
//! nothing.

use std::path::PathBuf;

use clap::Args;
use dspex_migration::{
    Backtest as Replay, Entry, Event, Journal, Keep, MigrationId, Plan, Recorded, Recorder,
    SqliteJournal, SqliteRecorder, Stop, Thresholds, Verdicts, backtest,
};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use toml::Table;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::cli::style::{Paint, dim, plain};
use crate::config::Config;
use crate::paths::DataDir;

/// Looks and entries that are read at a time.
const PIECE: usize = 2_000;

/// Judge a recorded run again, by other rules.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dspex migrate backtest --rule error_ratio.limit=2
  dspex migrate backtest --id 0192f3a1 --thresholds strict.toml --json")]
pub(crate) struct Backtest {
    /// The migration; the current or last one where it is not given.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A TOML file with the rules, as they stand under [migration.thresholds]; what it does not say is as in
    /// the run's own plan.
    #[arg(long, value_name = "FILE")]
    thresholds: Option<PathBuf>,
    /// One rule or limit, such as error_ratio.limit=2 or degradation.action=pause; may be given several times.
    #[arg(long, value_name = "RULE=VALUE")]
    rule: Vec<String>,
    /// Show each look at which the verdict would have been another.
    #[arg(long)]
    looks: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What was recorded of one run.
struct Run {
    id: MigrationId,
    plan: Plan,
    entries: Vec<Entry>,
    looks: Vec<Recorded>,
}

impl Backtest {
    /// Replays it and says what would have been.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let run = Run::read(&config, self.id.as_deref()).await?;
        let changed = self.thresholds.is_some() || !self.rule.is_empty();
        let thresholds = if changed {
            let file = self.thresholds.as_deref().map(read_file).transpose()?;
            changed_by(&run.plan.thresholds, file, &self.rule)?
        } else {
            // Nothing named: the rules as they are configured now.
            config.migration.thresholds.clone()
        };
        let replay = backtest(&run.plan, &run.entries, &run.looks, &thresholds);
        let body = json!({
            "migration": run.id,
            "candidate": run.plan.candidate,
            "thresholds": thresholds,
            "backtest": replay,
        });
        let looks = self.looks;
        output.either(&body, |paint| text(&run, &replay, looks, paint))
    }
}

impl Run {
    async fn read(config: &Config, id: Option<&str>) -> Result<Self, Failure> {
        let file = DataDir::new(&config.server.data_dir).database();
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Unfit, format_args!("{}: {error}", file.display()))
        };
        if !file.exists() {
            return Err(failed(&"there is no database")
                .hint("name the server's data directory with --data-dir"));
        }
        let options = SqliteConnectOptions::new().filename(&file);
        let pool: SqlitePool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(|error| failed(&error))?;
        let journal = SqliteJournal::open(pool.clone(), pool.clone()).await;
        let journal = journal.map_err(|error| failed(&error))?;
        let recorder = SqliteRecorder::open(pool.clone(), pool.clone(), Keep::default()).await;
        let recorder = recorder.map_err(|error| failed(&error))?;
        let id = match id {
            Some(id) => MigrationId::from_text(id),
            None => {
                let newest = journal
                    .history(1)
                    .await
                    .map_err(|error| failed(&error))?
                    .pop();
                let none = || Failure::new(Exit::Refused, "no migration was ever begun here");
                newest.ok_or_else(none)?.id
            }
        };
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let piece = journal.entries(&id, after, PIECE).await;
            let piece = piece.map_err(|error| Failure::new(Exit::Refused, error))?;
            let ended = piece.len() < PIECE;
            entries.extend(piece);
            if ended {
                break;
            }
        }
        let mut looks: Vec<Recorded> = Vec::new();
        loop {
            let piece = recorder.looks(&id, looks.len() as u64, PIECE as u64).await;
            let piece = piece.map_err(|error| failed(&error))?;
            let ended = piece.len() < PIECE;
            looks.extend(piece);
            if ended {
                break;
            }
        }
        pool.close().await;
        let plan = match entries.first().map(|entry| &entry.event) {
            Some(Event::Started { plan, .. }) => plan.clone(),
            _ => {
                return Err(failed(&format_args!(
                    "the journal of {id} does not begin with a start"
                )));
            }
        };
        if looks.is_empty() {
            return Err(
                Failure::new(Exit::Refused, format_args!("nothing was recorded of migration {id}"))
                    .hint(
                        "looks are recorded from its first stage on, and kept as [migration.recording] says, or \
                         until one of its pools is decommissioned: its archive holds them then",
                    ),
            );
        }
        Ok(Self {
            id,
            plan,
            entries,
            looks,
        })
    }
}

fn read_file(path: &std::path::Path) -> Result<Table, Failure> {
    let named =
        |error: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    text.parse()
        .map_err(|error: toml::de::Error| named(&error.message()))
}

/// The rules with those of a file, and then single ones, laid over them.
fn changed_by(
    thresholds: &Thresholds,
    file: Option<Table>,
    rules: &[String],
) -> Result<Thresholds, Failure> {
    let mut table = Table::try_from(thresholds).map_err(Failure::usage)?;
    lay_over(&mut table, file.unwrap_or_default());
    for rule in rules {
        let Some((key, value)) = rule.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::usage(format_args!(
                "--rule {rule}: write it as rule.limit=value"
            )));
        };
        // A value that is no TOML is text: "5%" need not be quoted.
        let parsed = format!("{key} = {value}").parse::<Table>();
        let quoted = || format!("{key} = {value:?}").parse::<Table>();
        let one = parsed
            .or_else(|_| quoted())
            .map_err(|error| Failure::usage(format_args!("--rule {rule}: {}", error.message())))?;
        lay_over(&mut table, one);
    }
    table.try_into().map_err(|error: toml::de::Error| {
        Failure::usage(format_args!("the rules: {}", error.message()))
            .hint("names and units are those of [migration.thresholds]: dspex config show")
    })
}

fn lay_over(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(over)) => lay_over(below, over),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

fn text(run: &Run, replay: &Replay, looks: bool, paint: Paint) -> String {
    let mut lines = vec![format!(
        "{} to {}, {} recorded{}",
        run.id,
        run.plan.candidate,
        counted(replay.looks, "look"),
        match replay.missing {
            0 => String::new(),
            missing => format!(", {missing} missing"),
        }
    )];
    lines.push(stop("then", replay.then.as_ref()));
    lines.push(stop("now ", replay.now.as_ref()));
    if let (Some(now), Some(rollback)) = (&replay.now, &replay.rollback)
        && now != rollback
    {
        lines.push(stop(
            "rollback, had nobody acted at the pause",
            Some(rollback),
        ));
    }
    lines.push(format!(
        "{} of {} would have been judged otherwise",
        replay.changed,
        counted(replay.looks, "look")
    ));
    if replay.then.is_some() && replay.now.is_none() {
        lines.push(
            "what would have come after the stop is not known: the evidence ends there".to_owned(),
        );
    }
    if looks {
        let other = |look: &&Verdicts| look.then.verdict != look.now.verdict;
        let rows = replay.verdicts.iter().filter(other).map(|look| {
            [
                dim(moment(look.at)),
                plain(place(look.stage)),
                plain(look.then.verdict.to_string()),
                plain(look.now.verdict.to_string()),
                plain(look.now.why.clone()),
            ]
        });
        lines.push(paint.table(["WHEN", "STAGE", "THEN", "NOW", "WHY NOW"], rows));
    }
    lines.join("\n")
}

fn stop(when: &str, stop: Option<&Stop>) -> String {
    match stop {
        None => format!("{when}: nothing stopped it"),
        Some(stop) => format!(
            "{when}: {} at {}, stage {}: {}",
            match stop.action {
                dspex_migration::Action::Rollback => "rolled back",
                _ => "paused",
            },
            moment(stop.at),
            place(stop.stage),
            stop.why
        ),
    }
}

fn counted(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.0}")
}

fn place(stage: Option<usize>) -> String {
    stage.map_or_else(|| "-".to_owned(), |stage| (stage + 1).to_string())
}

#[cfg(test)]
mod tests {
    use dspex_migration::Action;

    use super::*;

    fn changed(rules: &[&str]) -> Result<Thresholds, String> {
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        changed_by(&Thresholds::default(), None, &rules).map_err(|failure| failure.message)
    }

    #[test]
    fn a_rule_is_changed_alone_and_text_need_not_be_quoted() {
        let rules = [
            "error_ratio.limit=2.5",
            "degradation.action=pause",
            "significance=5%",
        ];
        let thresholds = changed(&rules).unwrap();
        assert_eq!(thresholds.error_ratio.limit, 2.5);
        assert_eq!(thresholds.error_ratio.action, Action::Rollback);
        assert_eq!(thresholds.degradation.action, Action::Pause);
        assert_eq!(thresholds.significance.basis_points(), 500);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for rule in [
            "eror_ratio.limit=2",
            "error_ratio",
            "error_ratio.action=shout",
            "=1",
        ] {
            assert!(changed(&[rule]).is_err(), "{rule}");
        }
    }

    #[test]
    fn a_file_says_only_what_is_other() {
        let file = "cpu = { action = \"pause\" }\nlatency_floor = \"20ms\""
            .parse()
            .unwrap();
        let thresholds = changed_by(&Thresholds::default(), Some(file), &[]).unwrap();
        assert_eq!(thresholds.cpu.action, Action::Pause);
        assert_eq!(thresholds.cpu.limit, Thresholds::default().cpu.limit);
        assert_eq!(thresholds.latency_floor.as_millis(), 20);
    }
}
