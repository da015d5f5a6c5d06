//! What an archive says of itself.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A server can be started from it.
    Backup,
    /// What is left of a pool that was taken away.
    Pool,
}

/// The first member. Unknown fields are passed over: a later release may add some within a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version of the format.
    pub(crate) format: u32,
    /// What it is for.
    pub(crate) kind: Kind,
    /// The release that wrote it.
    pub(crate) dspex: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// Why: the migration that it was written for, or the words of whoever asked for it.
    pub(crate) reason: String,
    /// What it holds, and where: a line for each thing.
    pub(crate) contents: BTreeMap<String, String>,
    /// What it does not hold, and why.
    pub(crate) remarks: Vec<String>,
    /// Rows of each table of the database, where there is one.
    pub(crate) tables: BTreeMap<String, u64>,
    /// Recorded looks of each migration, where there are any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) looks: BTreeMap<String, u64>,
    /// The other members, in order.
    pub(crate) members: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name: a path with `/` between folders.
    pub(crate) name: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of its content, as hex.
    pub(crate) sha256: String,
}

impl Member {
    /// Whether the name stays inside the folder that it is extracted into.
    pub(super) fn is_safe(&self) -> bool {
        let path = Path::new(&self.name);
        let normal = |part| matches!(part, Component::Normal(_));
        !self.name.is_empty() && !self.name.contains('\0') && path.components().all(normal)
    }
}
