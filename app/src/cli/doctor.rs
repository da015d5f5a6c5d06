//! `dspex doctor`: whether this machine can run the server, check by check, each with what was
//! measured, what is asked for, and what to do where the two differ.
//!
//! The checks themselves are in `checks`, which a migration's preflight shares.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::settings::Settings;
use super::style::{Paint, Tone, dim, plain};
use crate::checks::memory::PerWorker;
use crate::checks::{
    Check, Verdict, clock, disk, limits, machine, memory, python, schema, storage,
};
use crate::clock::now;
use crate::config::Config;
use crate::paths::DataDir;

/// Check that this machine can run the server.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    pub(crate) format: Format,
}

impl Doctor {
    /// Looks at everything, then says how it is.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let checks = examine(&config).await;
        output.either(
            &serde_json::json!({"fit": fit(&checks), "checks": checks}),
            |paint| report(&checks, paint),
        )?;
        if fit(&checks) {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Unfit))
        }
    }
}

async fn examine(config: &Config) -> Vec<Check> {
    let seen = python::examine(config).await;
    let mut checks = seen.checks;
    checks.extend(storage::examine(config).await);
    checks.extend(machine::examine(config));
    checks.extend(room(config, seen.weight.as_ref()));
    checks.extend(written(config).await);
    checks
}

/// Whether the pools of both lanes have room beside one another.
fn room(config: &Config, weight: Option<&PerWorker>) -> Vec<Check> {
    let lanes = [Some(&config.lanes.stable), config.lanes.candidate.as_ref()];
    let loads = lanes
        .into_iter()
        .flatten()
        .filter_map(|name| Some(config.pool(name)?.load()));
    let (workers, each) = loads.fold((0, 0), |(workers, each), load| {
        (workers + load.0, each.max(load.1))
    });
    let connections = u64::try_from(config.server.max_connections).unwrap_or(u64::MAX);
    vec![
        memory::side_by_side(workers, weight, memory::available()),
        limits::files(workers, connections),
        limits::processes(workers, each),
    ]
}

/// What a database that is there says: the room that it needs, its tables, and the clock by it.
async fn written(config: &Config) -> Vec<Check> {
    let dir = DataDir::new(&config.server.data_dir);
    let database = dir.database();
    let Ok(modified) = std::fs::metadata(&database).and_then(|file| file.modified()) else {
        return vec![clock::not_before(None)];
    };
    let lasts = config
        .migration
        .plan("stable", "candidate", None)
        .map_or(Duration::ZERO, |plan| {
            plan.stages.iter().map(|stage| stage.hold).sum()
        });
    let need = disk::Need::measure(&database, lasts, now());
    let written = Timestamp::try_from(modified).ok();
    let written = written.map(|at| (at, "the database was written last"));
    let mut checks = vec![disk::room(dir.path(), need), clock::not_before(written)];
    let options = SqliteConnectOptions::new()
        .filename(&database)
        .read_only(true);
    // Where it cannot be opened, the check of the database has said so already.
    if let Ok(reader) = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
    {
        checks.push(schema::migrated(&reader).await);
        reader.close().await;
    }
    checks
}

fn fit(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict < Verdict::Unfit)
}

fn report(checks: &[Check], paint: Paint) -> String {
    let rows = checks.iter().map(|check| {
        let verdict = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Warn),
            Verdict::Unknown => ("unknown", Tone::Warn),
            Verdict::Unfit => ("unfit", Tone::Bad),
        };
        [
            (verdict.0.to_owned(), verdict.1),
            plain(&check.name),
            plain(&check.value),
            dim(&check.limit),
        ]
    });
    let mut text = paint.table(["", "CHECK", "MEASURED", "LIMIT"], rows);
    for check in checks {
        if let Some(hint) = &check.hint {
            let label = paint.text(Tone::Good, "hint:");
            let hint = paint.text(Tone::Plain, hint);
            text.push_str(&format!("\n{label} {}: {hint}", check.name));
        }
    }
    let unfit = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Unfit)
        .count();
    let (summary, tone) = match unfit {
        0 => ("this machine can run the server".to_owned(), Tone::Good),
        1 => (
            "1 check says that the server cannot run here".to_owned(),
            Tone::Bad,
        ),
        n => (
            format!("{n} checks say that the server cannot run here"),
            Tone::Bad,
        ),
    };
    text.push_str(&format!("\n{}", paint.text(tone, &summary)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_fit_and_the_report_says_what_to_do() {
        let checks = [
            Check::ok("python", "3.11.7", "3.10 or newer"),
            Check::ok("dspy", "not installed", "installed")
                .but(Verdict::Warning, "pip install dspy"),
        ];
        assert!(fit(&checks));
        assert_eq!(
            report(&checks, Paint::new(false)),
            "         CHECK   MEASURED       LIMIT\n\
             ok       python  3.11.7         3.10 or newer\n\
             warning  dspy    not installed  installed\n\
             hint: dspy: pip install dspy\n\
             this machine can run the server"
        );
    }

    #[test]
    fn one_unfit_check_makes_the_machine_unfit() {
        let checks = [
            Check::ok("port", "in use", "free").but(Verdict::Unfit, "stop the other"),
            Check::ok("python", "3.11.7", "3.10 or newer"),
        ];
        assert!(!fit(&checks));
        assert!(
            report(&checks, Paint::new(false))
                .ends_with("1 check says that the server cannot run here")
        );
    }
}
