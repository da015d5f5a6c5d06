//! What a migration asks of whoever can bring a candidate up and take it away again.
//!
//! Invariant: nothing here moves traffic; that is the flag's business alone.

use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::{Drained, PoolStatus};
use serde::{Deserialize, Serialize};

use crate::evidence::Differences;
use crate::plan::Plan;

/// One thing that was looked at before going on: measured, against a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, in a few words.
    pub name: String,
    /// Whether it is as it must be.
    pub ok: bool,
    /// What was found, with its unit. What could not be measured is not `ok`.
    pub value: String,
    /// What was asked for.
    pub limit: String,
    /// What to do about it where it is not `ok`.
    pub hint: Option<String>,
}

/// Brings the candidate up and takes it away. The app implements it; it alone knows the pools.
///
/// Every method may be called again after it succeeded, failed, or was cut off: after a crash the
/// same step is taken once more. A rollback drops the future of [`Candidate::deploy`] or
/// [`Candidate::verify`] at any of its awaits and calls [`Candidate::withdraw`], which must then
/// leave nothing of the candidate behind.
#[async_trait]
pub trait Candidate: Send + Sync + 'static {
    /// Looks whether the migration can be begun at all. Changes nothing.
    async fn preflight(&self, plan: &Plan) -> Vec<Check>;

    /// Brings the candidate up beside stable, with no traffic. Where it is up already, that is
    /// success.
    ///
    /// # Errors
    ///
    /// Why it could not be brought up, in one line for the operator.
    async fn deploy(&self, plan: &Plan) -> Result<(), String>;

    /// Looks whether the candidate that is up can serve. Changes nothing.
    async fn verify(&self, plan: &Plan) -> Vec<Check>;

    /// A rollback begins: all traffic is about to be stable's. Where its pool is cold, it begins to wake.
    /// Waits for nothing, and may be called again. Nothing, where whoever implements this has no
    /// cold pools.
    fn wake_stable(&self) {}

    /// Lets calls in flight on the candidate finish for at most `drain`, then takes it away. Where
    /// it is not up (any more), that is success. A candidate that can serve stays, and that is a
    /// failure, for as long as stable cannot.
    ///
    /// # Errors
    ///
    /// What is left and why, in one line for the operator.
    async fn withdraw(&self, drain: Duration) -> Result<Drained, String>;

    /// Stable's pool, and the candidate's while it is up. Cheap.
    fn statuses(&self) -> (PoolStatus, Option<PoolStatus>);

    /// What copies of calls came to for this candidate, program by program. Cheap. Nothing, where
    /// whoever implements this compares nothing.
    fn differences(&self) -> Vec<Differences> {
        Vec::new()
    }
}

/// The failed checks in one line, or `None` where all are well. No check at all is a failure:
/// what was not looked at is not known to be well.
pub(crate) fn failed_checks(checks: &[Check]) -> Option<String> {
    if checks.is_empty() {
        return Some("no check was made".into());
    }
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| {
            let hint = check
                .hint
                .as_ref()
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            format!(
                "{}: found {}, needs {}{hint}",
                check.name, check.value, check.limit
            )
        })
        .collect();
    (!failed.is_empty()).then(|| failed.join("; "))
}
