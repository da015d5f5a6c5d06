//! The backup that is not let go: that of a migration which may still be taken back.

use std::ffi::OsString;
use std::path::Path;

use dspex_migration::{Event, Journal, Phase, SqliteJournal, Step};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::BackupError;

/// Entries that are read at once. The backup is among the first of a journal.
const PAGE: usize = 50;

/// The name of the backup that the newest migration began with, while that migration is neither
/// decommissioned nor rolled back; by the journal in `copy`, a database that nobody else has. Opening it
/// brings its tables to this version's form, which is why the server's own is not asked.
pub(super) async fn of_the_newest_migration(copy: &Path) -> Result<Option<OsString>, BackupError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(SqliteConnectOptions::new().filename(copy));
    let found = match SqliteJournal::open(pool.clone(), pool.clone()).await {
        Ok(journal) => read(&journal).await,
        Err(error) => Err(error),
    };
    pool.close().await;
    found.map_err(|error| BackupError::Journal(error.to_string()))
}

async fn read(journal: &dyn Journal) -> Result<Option<OsString>, dspex_migration::JournalError> {
    let newest = journal.history(1).await?.pop();
    let over = |phase| matches!(phase, Phase::Decommissioned | Phase::RolledBack);
    let Some(newest) = newest.filter(|newest| !over(newest.phase)) else {
        return Ok(None);
    };
    let mut after = 0;
    loop {
        let page = journal.entries(&newest.id, after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        after = last.seq;
        for entry in page {
            if let Event::StepDone {
                step: Step::Backup,
                saved: Some(saved),
                ..
            } = entry.event
            {
                // By its name alone: the data directory may have been moved since.
                let name = Path::new(&saved.place).file_name();
                return Ok(name.map(OsString::from));
            }
        }
    }
}
