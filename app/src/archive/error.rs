//! What can be wrong with an archive, in one line for people.

use std::io;
use std::path::{Path, PathBuf};

/// Why an archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The system refuses.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is some other file.
    #[error("{} is not an archive of dspex: {reason}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// By what that is seen.
        reason: String,
    },
    /// A later release has written it.
    #[error(
        "{} has format {format}, and this release reads formats up to {}: it was written by dspex {by}",
        path.display(), super::FORMAT
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        format: u64,
        /// The release that wrote it.
        by: String,
    },
    /// Its end is missing.
    #[error("{} is cut short: {what}", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// It is not what was written.
    #[error("{} was altered or damaged: {what}", path.display())]
    Altered {
        /// Which file.
        path: PathBuf,
        /// What differs from what.
        what: String,
    },
    /// A name would lead out of the folder that is extracted into.
    #[error("{} names a member {member:?}, which leads out of the folder", path.display())]
    Unsafe {
        /// Which file.
        path: PathBuf,
        /// The name.
        member: String,
    },
    /// There is something in the folder already.
    #[error("the folder {} is not empty", path.display())]
    NotEmpty {
        /// Which folder.
        path: PathBuf,
    },
}

impl ArchiveError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "`dspex backup list` shows the backups that there are"
            }
            Self::Io { .. } => "give this user the right to read and write there",
            Self::Foreign { .. } => "name a file that `dspex backup create` has written",
            Self::Newer { .. } => "use the release that wrote it, or a later one",
            Self::Truncated { .. } | Self::Altered { .. } => {
                "take another copy of it, or an older backup (`dspex backup list`)"
            }
            Self::Unsafe { .. } => "do not use it: dspex writes no such names",
            Self::NotEmpty { .. } => "name a folder that is empty or does not exist",
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// What a failed read of the stream says about the file.
    pub(super) fn reading(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated {
                path,
                what: "the stream ends too early".to_owned(),
            },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                Self::Altered {
                    path,
                    what: error.to_string(),
                }
            }
            _ => Self::Io {
                what: "cannot read",
                path,
                source: error,
            },
        }
    }
}
