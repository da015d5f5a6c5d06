//! What an old pool leaves behind is cleaned away: its recorded looks, and half-made files.
//!
//! Invariant: no look is removed that is not in an archive whose bytes were just found to be those that
//! were written; and none of the migration by which the pool goes.

use dspex_migration::{Leaving, MigrationId, Removed};

use super::Deployer;
use crate::backup;
use crate::leftovers;

impl Deployer {
    /// Cleans up behind the pool that goes. May be dropped at any await, and asked again.
    pub(super) async fn clean(&self, leaving: &Leaving<'_>) -> Result<Removed, String> {
        let looks = self.remove_looks(leaving).await?;
        if looks.is_none() {
            tracing::warn!(
                archive = leaving.archive.map(|saved| saved.place.as_str()),
                "recorded looks stay: the pool's archive is not where it was written"
            );
        }
        let dir = self.data_dir.clone();
        let cleared = tokio::task::spawn_blocking(move || leftovers::clear(&dir));
        let cleared = cleared
            .await
            .map_err(|died| format!("left-over files: {died}"))??;
        Ok(Removed {
            looks: looks.unwrap_or_default(),
            files: cleared.len() as u64,
            unproven: looks.is_none(),
        })
    }

    /// How many were removed; none where there is no archive that could be proven: whoever took it away
    /// should not be kept from going on, and loses nothing.
    async fn remove_looks(&self, leaving: &Leaving<'_>) -> Result<Option<u64>, String> {
        let Some(archive) = leaving.archive else {
            return Ok(None);
        };
        let archived = backup::archived_looks(&self.data_dir, archive).await;
        let archived = archived.map_err(|error| {
            let hint = error.hint();
            format!("the pool's archive cannot be proven, so no recorded look is removed: {error}; {hint}")
        })?;
        let Some(archived) = archived else {
            return Ok(None);
        };
        let mut removed = 0;
        for (id, count) in archived {
            let id = MigrationId::from_text(id);
            if id == *leaving.migration {
                continue;
            }
            // One more than the archive holds would be lost.
            let beyond = self.recorder.looks(&id, count, 1).await;
            let beyond = beyond.map_err(|error| error.to_string())?;
            if !beyond.is_empty() {
                tracing::warn!(migration = %id, archived = count, "its recorded looks stay: there are more than were archived");
                continue;
            }
            let gone = self.recorder.remove(&id).await;
            let gone = gone.map_err(|error| error.to_string())?;
            if gone > 0 {
                tracing::info!(migration = %id, looks = gone, "its recorded looks are removed: they are in the old pool's archive");
            }
            removed += gone;
        }
        Ok(Some(removed))
    }
}
