//! `dspex migrate plan`: what a migration would do, by the configuration and the versions of pools that are
//! known here; and what it would see, by simulation.
//!
//! Invariant: pools are named as `dspex migrate start` would name them: stable is what the database says, and
//! the candidate is a version.

mod words;

use clap::Args;
use dspex_migration::Plan as MigrationPlan;
use serde_json::json;

use super::scale;
use super::simulate::Simulate;
use crate::cli::client::Remote;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::settings::Settings;
use crate::config::Config;
use crate::configurations::Known;
use crate::paths::DataDir;
use crate::pools::Wanted;

/// Show what a migration would do.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Divides every hold: 3600 makes seconds of hours, for rehearsals.
    #[arg(long, value_parser = scale, value_name = "FACTOR")]
    time_scale: Option<f64>,
    /// The pool to bring in, such as v2@3 or v2 for its newest version; the configured candidate where it is
    /// not given.
    #[arg(long, value_name = "POOL")]
    candidate: Option<String>,
    #[command(flatten)]
    simulate: Simulate,
    #[command(flatten)]
    settings: Settings,
}

impl Plan {
    /// Prints it.
    pub(crate) async fn run(self, remote: &Remote, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let plan = made(&config, self.candidate, self.time_scale).await?;
        if !self.simulate.wanted() {
            return output.either(&plan, |paint| words::text(&plan, paint));
        }
        let simulated = self.simulate.run(&plan, &remote.client()?).await?;
        let body = json!({"plan": plan, "simulation": simulated.json()});
        output.either(&body, |paint| {
            let plan = words::text(&plan, paint);
            format!("{plan}\n\n{}", simulated.text(paint))
        })
    }
}

/// The plan, as anybody may see it.
async fn made(
    config: &Config,
    candidate: Option<String>,
    time_scale: Option<f64>,
) -> Result<MigrationPlan, Failure> {
    let database = DataDir::new(&config.server.data_dir).database();
    let known = Known::of(config, &database).await.map_err(|reason| {
        let place = database.display();
        let what = format_args!("the versions of pools in {place} cannot be read: {reason}");
        Failure::new(Exit::Unfit, what).hint("`dspex doctor` looks at the database more closely")
    })?;
    let stable = known.stable();
    let Some(candidate) = candidate.or(config.lanes.candidate.clone()) else {
        return Err(Failure::usage(format_args!(
            "no candidate is configured; stable is {stable}"
        ))
        .hint("name one with --candidate or lanes.candidate"));
    };
    let wanted: Wanted = candidate.parse().map_err(Failure::usage)?;
    let candidate = known
        .find(&wanted.name, wanted.version)
        .map_err(Failure::usage)?;
    if candidate == *stable {
        return Err(
            Failure::usage(format_args!("{stable} serves as stable already")).hint(
                "name another pool, or make a new version of it with `dspex pools put` first",
            ),
        );
    }
    let plan = config.migration.plan(
        (stable.name.as_str(), stable.version),
        (candidate.name.as_str(), candidate.version),
        time_scale,
    );
    let mut plan = plan.map_err(|error| Failure::new(Exit::Usage, error))?;
    for stage in &mut plan.stages {
        stage.gate = stage.gate.shown();
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

    use super::*;
    use crate::config::Sources;

    fn config(dir: &std::path::Path, more: &[&str]) -> Config {
        let mut set = vec![format!("server.data_dir={:?}", dir.display().to_string())];
        set.extend(more.iter().map(|setting| (*setting).to_owned()));
        Config::load(&Sources {
            set,
            ..Sources::default()
        })
        .unwrap()
    }

    /// The pools' names where there is a plan, and else what is said.
    async fn pools(config: &Config, candidate: Option<&str>) -> Result<String, String> {
        let plan = made(config, candidate.map(str::to_owned), None).await;
        plan.map(|plan| format!("{} to {}", plan.stable_name(), plan.candidate_name()))
            .map_err(|failure| failure.message)
    }

    #[tokio::test]
    async fn before_the_first_start_the_file_says_which_pools_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(
            dir.path(),
            &[
                "lanes.stable=old",
                "pools.old.kind=pool-v2",
                "lanes.candidate=v2",
            ],
        );
        assert_eq!(pools(&config, None).await.unwrap(), "old@1 to v2@1");
        assert_eq!(pools(&config, Some("v2@1")).await.unwrap(), "old@1 to v2@1");
        let refused = async |named| pools(&config, Some(named)).await.unwrap_err();
        assert!(refused("v2@2").await.contains("has no version 2"));
        assert!(refused("old").await.contains("old@1 serves as stable"));
        assert!(refused("v2@x").await.contains("names no version"));
        assert!(refused("v3").await.contains("there is no pool"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn afterwards_the_database_does_whatever_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(
            dir.path(),
            &[
                "lanes.stable=old",
                "pools.old.kind=pool-v2",
                "lanes.candidate=v2",
            ],
        );
        let options = SqliteConnectOptions::new()
            .filename(DataDir::new(dir.path()).database())
            .create_if_missing(true);
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        // A server that is at its first start.
        assert_eq!(pools(&config, None).await.unwrap(), "old@1 to v2@1");
        sqlx::raw_sql(
            "CREATE TABLE pool_configurations (name TEXT, version INTEGER, active INTEGER);
             INSERT INTO pool_configurations VALUES ('old', 1, 0), ('v2', 1, 1), ('v2', 2, 0)",
        )
        .execute(&mut database)
        .await
        .unwrap();
        assert_eq!(pools(&config, None).await.unwrap(), "v2@1 to v2@2");
        assert_eq!(pools(&config, Some("old")).await.unwrap(), "v2@1 to old@1");
        let same = pools(&config, Some("v2@1")).await.unwrap_err();
        assert!(same.contains("v2@1 serves as stable already"), "{same}");
        database.close().await.unwrap();
    }
}
