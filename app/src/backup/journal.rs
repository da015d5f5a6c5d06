//! A migration's journal as a file: one entry a line.
//!
//! A journal has an entry for every look, so it is read and written a page at a time, and no more than
//! a page of it is in memory. Addresses of gates are not in it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use dspex_migration::{Entry, Journal, MigrationId};

use super::{BackupError, blocking};
use crate::archive::ArchiveError;

/// Entries that are read at once.
const PAGE: usize = 200;

/// Writes the whole journal into a new file.
pub(super) async fn write(
    journal: &dyn Journal,
    id: &MigrationId,
    path: &Path,
) -> Result<(), BackupError> {
    let new = path.to_owned();
    let mut file = blocking(move || {
        let made = File::create_new(&new).map_err(ArchiveError::io("cannot make", &new))?;
        Ok(BufWriter::new(made))
    })
    .await?;
    let mut after = 0;
    loop {
        let page = journal.entries(id, after, PAGE).await;
        let page = page.map_err(|error| BackupError::Journal(error.to_string()))?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        let at = path.to_owned();
        file = blocking(move || {
            append(&mut file, page).map_err(ArchiveError::io("cannot write", &at))?;
            Ok(file)
        })
        .await?;
    }
    let at = path.to_owned();
    blocking(move || {
        file.flush()
            .map_err(ArchiveError::io("cannot write", &at))?;
        Ok(())
    })
    .await
}

fn append(file: &mut BufWriter<File>, page: Vec<Entry>) -> std::io::Result<()> {
    for entry in page {
        let event = entry.event.shown();
        serde_json::to_writer(&mut *file, &Entry { event, ..entry })?;
        file.write_all(b"\n")?;
    }
    Ok(())
}
