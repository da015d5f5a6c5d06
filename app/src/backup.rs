//! Backups of everything that a server keeps, and archives of pools that were taken away.
//!
//! Read in this order: [`snapshot`] (the database as it was at one moment), [`contents`] (what goes
//! into the file), [`place`] (where files are kept, and how many), [`spared`] (which is not let go), [`prove`] (whether a server can be
//! started from one).
//!
//! Invariants: a backup is of one moment, beside a running server or without one, and holds up nobody
//! who writes; no secret goes into it: not the value of a variable, not a token; what could not be had
//! stands in the manifest as a remark, and is not left out in silence.

mod contents;
mod flags;
mod journal;
mod looks;
mod place;
mod prove;
mod snapshot;
mod spared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use dspex_migration::Saved;
use jiff::Timestamp;

pub(crate) use self::contents::{Live, Subject};
pub(crate) use self::flags::file_of as flags_of;
pub(crate) use self::place::{Listed, list};
pub(crate) use self::prove::{Proof, prove, restore};
use crate::archive::{self, ArchiveError, Kind, Written};
use crate::clock;
use crate::config::Config;
use crate::paths::DataDir;

/// Why there is no backup, or why one is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The file itself.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is nothing to be backed up.
    #[error("there is no database at {0}")]
    NoDatabase(String),
    /// The database.
    #[error("the database {what}: {reason}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// The database's words.
        reason: String,
    },
    /// The flags, where they are not kept in the database.
    #[error("the flags in {store} cannot be copied: {reason}")]
    Flags {
        /// Where they are kept.
        store: String,
        /// The store's words.
        reason: String,
    },
    /// The journal of a migration.
    #[error("the migration's journal cannot be read: {0}")]
    Journal(String),
    /// What was recorded of migrations.
    #[error("the recorded looks cannot be read: {0}")]
    Looks(String),
    /// It is not the file that was written.
    #[error("{place} has the SHA-256 {found}, and was written with {written}")]
    Changed {
        /// Which file.
        place: String,
        /// What it has now.
        found: String,
        /// What the journal says.
        written: String,
    },
    /// What was restored is not what was backed up.
    #[error("a server cannot be started from it: {0}")]
    Unusable(String),
    /// The task that did it is gone.
    #[error("it broke off: {0}")]
    BrokeOff(String),
}

impl BackupError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Archive(error) => error.hint(),
            Self::NoDatabase(_) => {
                "name the server's folder with --data-dir, or its configuration with --config"
            }
            Self::Flags { .. } => {
                "a backup without them would bring no traffic back: bring flags.store back first"
            }
            Self::Changed { .. } => {
                "put the file back as it was, or move it elsewhere: nothing is removed then"
            }
            Self::Database { .. } | Self::Journal(_) | Self::Looks(_) => {
                "`dspex doctor` looks at the database more closely"
            }
            Self::Unusable(_) => {
                "use the release that wrote it, or an older backup (`dspex backup list`)"
            }
            Self::BrokeOff(_) => "try again, and look at the log",
        }
    }
}

/// Writes a backup into the data directory, and lets go of the oldest beyond those that are kept; but not of
/// that of a migration which may still be taken back.
pub(crate) async fn create(
    config: &Config,
    reason: &str,
    live: Option<Live>,
) -> Result<Written, BackupError> {
    let dir = DataDir::new(&config.server.data_dir);
    let database = dir.database();
    if !database.is_file() {
        return Err(BackupError::NoDatabase(database.display().to_string()));
    }
    let now = clock::now();
    let scratch = place::Scratch::make(&dir.backups()).map_err(BackupError::Archive)?;
    let copy = scratch.path().join("dspex.db");
    let tables = snapshot::take(&database, &copy, config.storage.busy_timeout).await?;
    let flags = flags::copy(&config.flags.store).await?;
    let copied = copy.clone();
    let (manifest, members) = contents::backup(config, reason, now, tables, copy, flags, live);
    let keep = config.storage.keep_backups;
    let folder = dir.backups();
    let into = folder.clone();
    let written = blocking(move || {
        let name = place::name(Kind::Backup, now);
        Ok(archive::write(&into, &name, manifest, &members)?)
    })
    .await?;
    // Only now: the copy in the file is as it was taken.
    let spared = spared::of_the_newest_migration(&copied).await;
    blocking(move || {
        drop(scratch);
        match spared {
            Ok(spared) => place::prune(&folder, keep, &written.path, spared.as_deref()),
            Err(error) => tracing::warn!(
                %error,
                "no old backup is removed: whether a migration needs one cannot be told"
            ),
        }
        Ok(written)
    })
    .await
}

/// Writes what is left of a pool that is taken away.
pub(crate) async fn archive_pool(
    config: &Config,
    reason: &str,
    subject: Subject,
) -> Result<Written, BackupError> {
    let folder = DataDir::new(&config.server.data_dir).archives();
    let now: Timestamp = clock::now();
    let scratch = place::Scratch::make(&folder).map_err(BackupError::Archive)?;
    let journal = scratch.path().join("journal.ndjson");
    journal::write(&*subject.journal, &subject.migration, &journal).await?;
    let file = scratch.path().join("looks.ndjson");
    let counts = looks::write(&*subject.recorder, &subject.took_part, &file).await?;
    let looks = contents::Looks { file, counts };
    let (manifest, members) = contents::pool(config, reason, now, subject, journal, looks);
    blocking(move || {
        let name = place::name(Kind::Pool, now);
        let written = archive::write(&folder, &name, manifest, &members)?;
        drop(scratch);
        Ok(written)
    })
    .await
}

/// How many looks of which migrations are in a pool's archive; [`None`] where it is not there any more. The
/// file's bytes are proven first. It is looked for by its name among the archives: the data directory may
/// have been moved since.
pub(crate) async fn archived_looks(
    dir: &DataDir,
    saved: &Saved,
) -> Result<Option<BTreeMap<String, u64>>, BackupError> {
    let saved = saved.clone();
    let name = Path::new(&saved.place).file_name().unwrap_or_default();
    let path = dir.archives().join(name);
    blocking(move || {
        if !path.exists() {
            return Ok(None);
        }
        let found = archive::sha256(&path)?;
        if found != saved.sha256 {
            return Err(BackupError::Changed {
                place: path.display().to_string(),
                found,
                written: saved.sha256,
            });
        }
        Ok(Some(archive::manifest_of(&path)?.looks))
    })
    .await
}

/// Runs what reads and writes files where it holds up no call.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|died| BackupError::BrokeOff(died.to_string()))?
}
