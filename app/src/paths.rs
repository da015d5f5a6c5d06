//! The files of a data directory, named in one place.

use std::path::{Path, PathBuf};

/// A data directory. Making a value touches nothing; [`crate::storage`] makes the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The data directory at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Held locked by the server for as long as it lives; holds its pid as text.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join("dspex.db")
    }

    /// SHA-256 of the admin token, as hex.
    #[must_use]
    pub fn admin_token_hash(&self) -> PathBuf {
        self.0.join("admin.token.sha256")
    }

    /// Where backups are kept.
    #[must_use]
    pub fn backups(&self) -> PathBuf {
        self.0.join("backups")
    }

    /// Where what is left of pools that were taken away is kept.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.0.join("archives")
    }

    /// Where the Python package of the workers is unpacked.
    #[must_use]
    pub fn python_package(&self) -> PathBuf {
        self.0.join("python")
    }
}
