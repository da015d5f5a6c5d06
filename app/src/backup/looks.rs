//! Recorded looks of migrations as a file: one look a line, both lanes in it.
//!
//! Invariants: no more than a page of them is in memory; and what is answered as written is all that the
//! store had when it was read: where looks were let go meanwhile, so that some may have been passed over,
//! that is an error and not a gap.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use dspex_migration::{JournalError, MigrationId, Recorded, Recorder};

use super::{BackupError, blocking};
use crate::archive::ArchiveError;

/// Looks that are read at once.
const PAGE: u64 = 100;

/// Writes the looks of these migrations into a new file, and answers how many there are of each.
pub(super) async fn write(
    recorder: &dyn Recorder,
    migrations: &[MigrationId],
    path: &Path,
) -> Result<BTreeMap<String, u64>, BackupError> {
    let unread = |error: JournalError| BackupError::Looks(error.to_string());
    let new = path.to_owned();
    let mut file = blocking(move || {
        let made = File::create_new(&new).map_err(ArchiveError::io("cannot make", &new))?;
        Ok(BufWriter::new(made))
    })
    .await?;
    // Those that are on their way are of this migration, too.
    recorder.settled().await;
    let mut counts = BTreeMap::new();
    for id in migrations {
        let (mut count, mut last) = (0, None);
        loop {
            let page = recorder.looks(id, count, PAGE).await.map_err(unread)?;
            let Some(look) = page.last() else { break };
            last = Some(look.at);
            count += page.len() as u64;
            let at = path.to_owned();
            file = blocking(move || {
                append(&mut file, &page).map_err(ArchiveError::io("cannot write", &at))?;
                Ok(file)
            })
            .await?;
        }
        if let Some(last) = last {
            // Were any let go before it meanwhile, another look would stand in its place.
            let again = recorder.looks(id, count - 1, 1).await.map_err(unread)?;
            if again.first().map(|look| look.at) != Some(last) {
                return Err(BackupError::Looks(format!(
                    "old looks of {id} were let go while they were read"
                )));
            }
        }
        counts.insert(id.to_string(), count);
    }
    let at = path.to_owned();
    blocking(move || {
        file.flush()
            .map_err(ArchiveError::io("cannot write", &at))?;
        Ok(counts)
    })
    .await
}

fn append(file: &mut BufWriter<File>, page: &[Recorded]) -> std::io::Result<()> {
    for look in page {
        writeln!(file, "{}", look.line()?)?;
    }
    Ok(())
}
