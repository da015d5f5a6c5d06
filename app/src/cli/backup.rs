//! `dspex backup`: keeps everything that a server keeps, proves a backup, and restores one. Works on
//! the files alone, beside a server that runs or without one.

mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::client::Remote;
use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::settings::Settings;
use crate::archive::ArchiveError;
use crate::backup::{self, BackupError, Live};
use crate::offline::{Holder, holder};
use crate::paths::DataDir;

/// Keep everything that a server keeps in one file, prove such a file, restore it.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a backup into the data directory, beside a running server or without one.
    Create(Create),
    /// List the backups of the data directory, the newest first.
    List(List),
    /// Prove a backup: restore it into an empty folder, compare, and open every part's tables. The archive of a
    /// decommissioned pool is proven by its checksums and counts.
    Verify(Verify),
    /// Restore a backup into an empty folder, from which a server can be started.
    Restore(Restore),
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    remote: Remote,
    /// Why, for the list.
    #[arg(long, value_name = "TEXT", default_value = "asked for")]
    why: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Args)]
struct Verify {
    /// The backup, or the archive of a pool.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    /// The backup.
    file: PathBuf,
    /// A folder that is empty, or does not exist.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
}

impl Backup {
    /// Does what was asked.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        match self.verb {
            Verb::Create(create) => create.run(output).await,
            Verb::List(list) => list.run(output),
            Verb::Verify(verify) => verify.run(output).await,
            Verb::Restore(restore) => restore.run(output).await,
        }
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            BackupError::Archive(ArchiveError::NotEmpty { .. }) => Exit::Usage,
            BackupError::NoDatabase(_) => Exit::Unfit,
            _ => Exit::Failed,
        };
        let hint = error.hint();
        Self::new(exit, error).hint(hint)
    }
}

impl Create {
    async fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        // Another server's metrics would be worse than none: one must hold this very folder.
        let holder = holder(&DataDir::new(&config.server.data_dir));
        let live = if matches!(holder, Holder::Server(_)) {
            metrics(&self.remote).await
        } else {
            None
        };
        let written = backup::create(&config, &self.why, live).await?;
        let found = json!({
            "file": written.path, "bytes": written.bytes, "sha256": written.sha256,
        });
        output.either(&found, |paint| show::written(&written, paint))
    }
}

async fn metrics(remote: &Remote) -> Option<Live> {
    let client = remote.client().ok()?;
    let metrics = client.get(&["metrics"]).text().await.ok()?;
    Some(Live {
        metrics,
        ..Live::default()
    })
}

impl List {
    fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let folder = DataDir::new(&config.server.data_dir).backups();
        let listed = backup::list(&folder).map_err(BackupError::from)?;
        let found: Vec<_> = listed
            .iter()
            .map(|listed| {
                let (manifest, error) = match &listed.manifest {
                    Ok(manifest) => (Some(manifest), None),
                    Err(error) => (None, Some(error.to_string())),
                };
                json!({
                    "file": listed.path, "bytes": listed.bytes, "error": error,
                    "created_at": manifest.map(|manifest| manifest.created_at),
                    "dspex": manifest.map(|manifest| &manifest.dspex),
                    "reason": manifest.map(|manifest| &manifest.reason),
                })
            })
            .collect();
        output.either(&json!({"backups": found}), |paint| {
            show::list(&listed, &folder, paint)
        })
    }
}

impl Verify {
    async fn run(self, output: Output) -> Result<(), Failure> {
        let proof = backup::prove(&self.file, &std::env::temp_dir()).await?;
        let found = json!({"file": self.file, "good": true, "proof": proof});
        output.either(&found, |paint| show::proof(&proof, paint))
    }
}

impl Restore {
    async fn run(self, output: Output) -> Result<(), Failure> {
        let manifest = backup::restore(&self.file, &self.into).await?;
        output.either(&json!({"into": self.into, "manifest": manifest}), |paint| {
            show::restored(&manifest, &self.into, paint)
        })
    }
}
