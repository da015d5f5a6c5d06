//! What a migration asks of whoever puts things aside: a backup before it begins, an archive of the
//! old pool before that pool goes.
//!
//! Invariant: what is answered as saved is durable, and its checksum is of the bytes in the place.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::id::MigrationId;
use crate::plan::Plan;

/// Something that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Where it lies: a path, as the operator would type it.
    pub place: String,
    /// How large it is.
    pub bytes: u64,
    /// The SHA-256 of it, in hexadecimal.
    pub sha256: String,
}

/// Puts things aside. The app implements it.
///
/// Both methods may be called again after they succeeded, failed, or were cut off, and may be
/// dropped at any await: half an archive is never left where a whole one would lie.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Everything that is needed to go back to how it was before this migration.
    ///
    /// # Errors
    ///
    /// Why it could not be put aside, in one line for the operator. The migration then does not begin.
    async fn backup(&self, id: &MigrationId, plan: &Plan) -> Result<Saved, String>;

    /// What the old pool leaves behind: its configuration, its metrics, its logs.
    ///
    /// # Errors
    ///
    /// Why it could not be put aside, in one line for the operator. The old pool then stays.
    async fn archive(&self, id: &MigrationId, plan: &Plan) -> Result<Saved, String>;
}
