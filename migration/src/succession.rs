//! What a migration asks of whoever can put the candidate's pool into the old one's place.
//!
//! Invariants: nothing here moves the lever; until [`Succession::promote`] has succeeded the old pool
//! can take all traffic back at any moment, if need be after it has woken.

use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::Drained;
use serde::{Deserialize, Serialize};

use crate::candidate::Check;
use crate::id::MigrationId;
use crate::plan::Plan;
use crate::vault::Saved;
use crate::wording;

/// An old pool that goes.
#[derive(Debug, Clone, Copy)]
pub struct Leaving<'a> {
    /// The migration that it goes by.
    pub migration: &'a MigrationId,
    /// Its plan.
    pub plan: &'a Plan,
    /// What was archived of the pool in this decommission, where anything was.
    pub archive: Option<&'a Saved>,
}

/// What was cleaned away with an old pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Removed {
    /// Recorded looks of earlier migrations that the pool took part in: they are in its archive.
    pub looks: u64,
    /// Files and folders that processes had left half-made when they ended.
    pub files: u64,
    /// The pool's archive is not where it was written, so no recorded look was removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
}

impl Removed {
    /// Whether there was nothing to clean away.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let looks = wording::count(self.looks, "recorded look");
        let files = wording::count(self.files, "left-over file");
        write!(f, "{looks} of earlier migrations, {files}")?;
        if self.unproven {
            f.write_str(" (recorded looks stay: the archive is not where it was written)")?;
        }
        Ok(())
    }
}

/// The old pool's end, and the candidate's pool in its place. The app implements it.
///
/// Every method may be called again after it succeeded, failed, or was cut off, and may be dropped
/// at any await: after a crash the same step is taken once more. Where it was done already, that is
/// success.
#[async_trait]
pub trait Succession: Send + Sync + 'static {
    /// Looks whether the old pool may go: measured, against limits. Changes nothing.
    async fn confirm(&self, plan: &Plan) -> Vec<Check>;

    /// The candidate's pool becomes stable, durably: both lanes are that pool until the lever is
    /// back at 0 %. The old pool stays, warm or cold, until [`Succession::retire`].
    ///
    /// # Errors
    ///
    /// Why it is not stable, in one line for the operator.
    async fn promote(&self, plan: &Plan) -> Result<(), String>;

    /// The plan's stable pool is stable again, durably. Asked for where a rollback came while
    /// [`Succession::promote`] was under way, so that nobody knows whether it was done; where it was
    /// not, this changes nothing.
    ///
    /// # Errors
    ///
    /// Why the old pool is not stable, in one line for the operator.
    async fn demote(&self, plan: &Plan) -> Result<(), String>;

    /// Stops the old pool, for good: calls in flight on it may finish for at most `drain`, then its
    /// workers end, and what they had open or in memory goes with them. Then what it leaves behind is
    /// cleaned away: the recorded looks of earlier migrations in which it took part, where the archive
    /// holds them, and half-made files. What is needed to tell of this migration stays, and so do the
    /// pool's versions and the journals of all migrations, as history.
    ///
    /// Asked again, it answers what that time removed.
    ///
    /// # Errors
    ///
    /// What is left and why, in one line for the operator.
    async fn retire(&self, leaving: Leaving<'_>, drain: Duration) -> Result<Removed, String>;

    /// The old pool is made cold: it has no workers, and wakes by itself on the first call.
    ///
    /// # Errors
    ///
    /// Why it is still warm, in one line for the operator.
    async fn rest(&self, plan: &Plan, drain: Duration) -> Result<Drained, String>;
}
