//! What a migration stands on beside the pools: the machine, the database, and the files that are put
//! aside. The house asks this and nobody else, so that tests can give it one without files.

use std::sync::Arc;

use async_trait::async_trait;
use dspex_migration::{Check, Plan, Saved};
use dspex_pool::{PoolStatus, Program};

use crate::backup::{Live, Subject};
use crate::pools::PoolVersion;

/// See the module.
#[async_trait]
pub(crate) trait Ground: Send + Sync + 'static {
    /// Looks whether there is room for the candidate beside stable, and whether what it needs is
    /// there. Changes nothing.
    async fn survey(&self, survey: Survey<'_>) -> Vec<Check>;

    /// Writes a backup.
    ///
    /// # Errors
    /// Why there is none, in one line.
    async fn back_up(&self, reason: &str, live: Live) -> Result<Saved, String>;

    /// Writes what is left of a pool.
    ///
    /// # Errors
    /// Why there is none, in one line.
    async fn archive(&self, reason: &str, subject: Subject) -> Result<Saved, String>;

    /// The settings of a pool, to be kept: without the value of any variable.
    fn settings(&self, pool: &PoolVersion) -> serde_json::Value;
}

/// What is to be looked at.
pub(crate) struct Survey<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) candidate: &'a PoolVersion,
    /// Stable's pool as it is now.
    pub(crate) stable: PoolStatus,
    /// What the candidate must be able to run; or why that is not known.
    pub(crate) programs: Result<Vec<Arc<Program>>, String>,
}

/// A ground for tests: there is always room, and what is put aside is nowhere.
#[cfg(test)]
pub(crate) struct Solid;

#[cfg(test)]
#[async_trait]
impl Ground for Solid {
    async fn survey(&self, survey: Survey<'_>) -> Vec<Check> {
        vec![Check {
            name: "the ground".to_owned(),
            ok: survey.programs.is_ok(),
            value: survey.candidate.to_string(),
            limit: "anything".to_owned(),
            hint: None,
        }]
    }

    async fn back_up(&self, reason: &str, _: Live) -> Result<Saved, String> {
        Ok(Saved {
            place: reason.to_owned(),
            bytes: 0,
            sha256: String::new(),
        })
    }

    async fn archive(&self, reason: &str, _: Subject) -> Result<Saved, String> {
        self.back_up(reason, Live::default()).await
    }

    fn settings(&self, _: &PoolVersion) -> serde_json::Value {
        serde_json::Value::Null
    }
}
