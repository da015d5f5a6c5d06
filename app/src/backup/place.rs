//! The folders of backups and archives: names, what is there, and what is let go.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

use crate::archive::{self, ArchiveError, Kind, Manifest};
use crate::leftovers::SCRATCH;

const ENDING: &str = ".tar.gz";

/// A file's name. In the order of names, files are in the order of their making.
pub(super) fn name(kind: Kind, now: Timestamp) -> String {
    let beginning = beginning(kind);
    let at = now.strftime("%Y%m%dT%H%M%S%.3fZ");
    let apart = Uuid::new_v4().simple().to_string();
    format!("{beginning}{at}-{}{ENDING}", &apart[..8])
}

fn beginning(kind: Kind) -> &'static str {
    match kind {
        Kind::Backup => "backup-",
        Kind::Pool => "pool-",
    }
}

/// A file in the folder of backups.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
    /// What it says of itself, or why it cannot be read.
    pub(crate) manifest: Result<Manifest, ArchiveError>,
}

/// The backups, the newest first. Where there is no folder there are none.
///
/// # Errors
/// Where the folder cannot be read.
pub(crate) fn list(folder: &Path) -> Result<Vec<Listed>, ArchiveError> {
    let mut paths = files(folder, Kind::Backup)?;
    paths.reverse();
    let listed = paths.into_iter().map(|path| Listed {
        bytes: std::fs::metadata(&path).map_or(0, |file| file.len()),
        manifest: archive::manifest_of(&path),
        path,
    });
    Ok(listed.collect())
}

/// Our files of this kind, the oldest first.
fn files(folder: &Path, kind: Kind) -> Result<Vec<PathBuf>, ArchiveError> {
    let there = match std::fs::read_dir(folder) {
        Ok(there) => there,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ArchiveError::Io {
                what: "cannot read the folder",
                path: folder.to_owned(),
                source,
            });
        }
    };
    let mut paths: Vec<PathBuf> = there
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(beginning(kind)) && name.ends_with(ENDING))
        })
        .collect();
    paths.sort();
    Ok(paths)
}

/// Removes the oldest backups beyond `keep`; never the one that was just written, nor the one whose name is
/// `spared`, which may be one more then. What cannot be removed is told in the log: a backup that was made is
/// not undone for it.
pub(super) fn prune(folder: &Path, keep: usize, newest: &Path, spared: Option<&OsStr>) {
    let Ok(paths) = files(folder, Kind::Backup) else {
        return;
    };
    let beyond = paths.len().saturating_sub(keep);
    let stays = |path: &Path| path == newest || (spared.is_some() && path.file_name() == spared);
    for path in paths.iter().take(beyond).filter(|path| !stays(path)) {
        match std::fs::remove_file(path) {
            Ok(()) => tracing::info!(path = %path.display(), keep, "an old backup is removed"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an old backup cannot be removed");
            }
        }
    }
}

/// A folder for what is only needed meanwhile. Dropped, it is gone with all that is in it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    /// Locked, so that whoever clears away what is left over sees that it is not.
    _held: File,
}

impl Scratch {
    /// Makes one inside `folder`, which is made where it is missing.
    pub(super) fn make(folder: &Path) -> Result<Self, ArchiveError> {
        let path = folder.join(format!("{SCRATCH}{}", Uuid::new_v4().simple()));
        let held = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .and_then(|()| File::open(&path))
            .map_err(|source| ArchiveError::Io {
                what: "cannot make the folder",
                path: path.clone(),
                source,
            })?;
        // Where there are no locks, it is its age that tells.
        let _ = held.try_lock();
        Ok(Self { path, _held: held })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a folder is left behind");
        }
    }
}
