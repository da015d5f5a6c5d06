//! The name of one migration.
//!
//! Invariant: ids sort by the time they were made, because they hold a version 7 UUID.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one migration: `m-` and a version 7 UUID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(String);

impl MigrationId {
    /// Makes an id that no other migration has.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("m-{}", uuid::Uuid::now_v7()))
    }

    /// Takes an id as it was written down: in a journal, in a URL. An id that nobody made names no
    /// migration, which whoever looks it up finds out.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
