//! Flags that are kept elsewhere than in the server's database: their copy in a backup.
//!
//! Invariant: a backup has the flags, or there is none. What cannot be read is not left out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dspex_flags::{FileStore, FlagStore};

use super::BackupError;
use crate::archive::Manifest;
use crate::config::StoreAt;
use crate::flag_store;

/// The member: a file that a server reads with `flags.store = "file:…"`.
pub(super) const MEMBER: &str = "flags.json";

/// A copy of the flags.
#[derive(Debug)]
pub(super) struct Copy {
    /// Where they are kept, without a password.
    pub(super) store: String,
    /// The member's bytes.
    pub(super) bytes: Vec<u8>,
}

/// Copies the flags; [`None`] where the database has them.
pub(super) async fn copy(at: &StoreAt) -> Result<Option<Copy>, BackupError> {
    let failed = |error: dspex_flags::FlagError| BackupError::Flags {
        store: at.to_string(),
        reason: error.to_string(),
    };
    let Some(store) = flag_store::open_external(at).await.map_err(failed)? else {
        return Ok(None);
    };
    let bytes = FileStore::copy_of(&*store).await.map_err(failed)?;
    Ok(Some(Copy {
        store: at.to_string(),
        bytes,
    }))
}

/// The copy in an extracted backup, where it has one.
pub(crate) fn file_of(manifest: &Manifest, dir: &Path) -> Option<PathBuf> {
    let mut members = manifest.members.iter();
    let there = members.any(|member| member.name == MEMBER);
    there.then(|| dir.join(MEMBER))
}

/// Opens the copy in an extracted backup as a server does, where it has one.
pub(super) async fn open(
    manifest: &Manifest,
    dir: &Path,
) -> Result<Option<Arc<dyn FlagStore>>, String> {
    match file_of(manifest, dir) {
        None => Ok(None),
        Some(path) => match FileStore::open(path).await {
            Ok(store) => Ok(Some(Arc::new(store))),
            Err(error) => Err(error.to_string()),
        },
    }
}
