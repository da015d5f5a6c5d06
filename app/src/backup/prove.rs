//! Restoring a backup, and proving one by restoring it where nothing is.
//!
//! Invariant: nothing is taken from the manifest's word alone. Rows are counted in the database that
//! was extracted, and every part opens its own tables as at a server's start.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dspex_flags::Flags;
use dspex_migration::Journal as _;
use dspex_router::{Catalog as _, SessionStore as _};
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::contents::LOOKS;
use super::place::Scratch;
use super::{BackupError, blocking, flags, snapshot};
use crate::archive::{self, ArchiveError, Kind, Manifest};
use crate::paths::DataDir;
use crate::serve::Stores;
use crate::storage::Store;

/// How long a statement waits for a lock that nobody should have.
const BUSY: Duration = Duration::from_secs(1);
/// Rows asked for at once.
const PAGE: usize = 500;

/// What was found in a backup that a server can be started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// Members whose length and SHA-256 are as they were.
    pub(crate) members: usize,
    /// Tables with as many rows as they had.
    pub(crate) tables: usize,
    /// Their rows.
    pub(crate) rows: u64,
    /// Programs that the catalog reads.
    pub(crate) programs: usize,
    /// Sessions whose states are there.
    pub(crate) sessions: u64,
    /// The revision that the flags are at.
    pub(crate) flag_revision: u64,
    /// Migrations whose journals are read to their last entry.
    pub(crate) migrations: usize,
    /// Their entries.
    pub(crate) entries: usize,
    /// What it is a file of.
    pub(crate) kind: Kind,
    /// Recorded looks, in the archive of a pool.
    pub(crate) looks: u64,
}

/// Proves a backup: restores it into an empty folder beside `scratch`'s other files, and opens it as
/// a server does. The folder is removed again.
pub(crate) async fn prove(path: &Path, scratch: &Path) -> Result<Proof, BackupError> {
    let scratch = Scratch::make(scratch)?;
    let into = scratch.path().join("restored");
    let manifest = extracted(path, &into).await?;
    match manifest.kind {
        Kind::Pool => of_pool(manifest, into).await,
        Kind::Backup => {
            compare(&manifest, &into).await?;
            open(&manifest, &into).await
        }
    }
}

/// The archive of a pool: its members are as they were written, and there are as many looks as it says.
async fn of_pool(manifest: Manifest, into: PathBuf) -> Result<Proof, BackupError> {
    blocking(move || {
        let path = into.join(LOOKS);
        let failed = || ArchiveError::io("cannot read", &path);
        let mut looks = 0;
        // Archives of older releases have none.
        if path.is_file() {
            for line in BufReader::new(File::open(&path).map_err(failed())?).lines() {
                line.map_err(failed())?;
                looks += 1;
            }
        }
        let told: u64 = manifest.looks.values().sum();
        if looks != told {
            return Err(BackupError::Unusable(format!(
                "{LOOKS} has {looks} looks, and its manifest {told}"
            )));
        }
        Ok(Proof {
            members: manifest.members.len(),
            tables: 0,
            rows: 0,
            programs: 0,
            sessions: 0,
            flag_revision: 0,
            migrations: manifest.looks.len(),
            entries: 0,
            kind: Kind::Pool,
            looks,
        })
    })
    .await
}

/// Restores a backup into a folder that is empty or not there, from which a server can be started.
pub(crate) async fn restore(path: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let manifest = extracted(path, into).await?;
    compare(&manifest, into).await?;
    Ok(manifest)
}

async fn extracted(path: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let (from, folder): (PathBuf, PathBuf) = (path.to_owned(), into.to_owned());
    blocking(move || Ok(archive::extract(&from, &folder)?)).await
}

/// Whether the database that was extracted is the one that was kept.
async fn compare(manifest: &Manifest, into: &Path) -> Result<(), BackupError> {
    if manifest.kind != Kind::Backup {
        return Err(BackupError::Unusable(
            "it is the archive of a pool, and has no database".to_owned(),
        ));
    }
    let database = DataDir::new(into).database();
    if !database.is_file() {
        return Err(BackupError::Unusable("it has no database".to_owned()));
    }
    let rows = snapshot::rows(&database).await?;
    if rows != manifest.tables {
        let differs = manifest
            .tables
            .iter()
            .find(|(table, count)| rows.get(*table) != Some(count))
            .map_or(
                "there are tables beside them".to_owned(),
                |(table, count)| {
                    let found = rows
                        .get(table)
                        .map_or("no table".to_owned(), u64::to_string);
                    format!("{table} had {count} rows, and has {found}")
                },
            );
        return Err(BackupError::Unusable(differs));
    }
    Ok(())
}

/// Opens every part's tables, as a server does when it starts, and reads them.
async fn open(manifest: &Manifest, dir: &Path) -> Result<Proof, BackupError> {
    let unusable = |error: &dyn std::fmt::Display| BackupError::Unusable(error.to_string());
    let store = Store::open(DataDir::new(dir), 1, BUSY)
        .await
        .map_err(|error| unusable(&error))?;
    let tracker = TaskTracker::new();
    let found = read(manifest, dir, &store, &tracker).await;
    tracker.close();
    tracker.wait().await;
    store.close().await;
    let found = found.map_err(BackupError::Unusable)?;
    Ok(Proof {
        members: manifest.members.len(),
        tables: manifest.tables.len(),
        rows: manifest.tables.values().sum(),
        ..found
    })
}

async fn read(
    manifest: &Manifest,
    dir: &Path,
    store: &Store,
    tracker: &TaskTracker,
) -> Result<Proof, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let stores = Stores::open(store, tracker).await.map_err(|e| words(&e))?;
    let declared = dspex_flags::dspex::declarations();
    let kept = flags::open(manifest, dir).await?;
    let kept = kept.unwrap_or_else(|| Arc::clone(&stores.flags) as _);
    let flags = Flags::open(kept, declared)
        .await
        .map_err(|error| words(&error))?;
    let mut programs = 0;
    let mut after = None;
    loop {
        let page = stores.catalog.list(after.as_ref(), PAGE).await;
        let page = page.map_err(|error| words(&error))?;
        programs += page.programs.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let totals = stores.sessions.totals().await.map_err(|e| words(&e))?;
    let history = stores.journal.history(usize::MAX >> 1).await;
    let history = history.map_err(|error| words(&error))?;
    let mut entries = 0;
    for migration in &history {
        let mut seq = 0;
        while seq < migration.last_seq {
            let page = stores.journal.entries(&migration.id, seq, PAGE).await;
            let page = page.map_err(|error| words(&error))?;
            let Some(last) = page.last() else {
                let (id, last) = (&migration.id, migration.last_seq);
                return Err(format!("the journal of {id} ends at {seq}, not at {last}"));
            };
            seq = last.seq;
            entries += page.len();
        }
    }
    Ok(Proof {
        members: 0,
        tables: 0,
        rows: 0,
        programs,
        sessions: totals.sessions,
        flag_revision: flags.snapshot().revision().get(),
        migrations: history.len(),
        entries,
        kind: Kind::Backup,
        looks: 0,
    })
}
