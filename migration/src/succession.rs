//! What a migration asks of whoever can put the candidate's pool into the old one's place.
//!
//! Invariants: nothing here moves the lever; until [`Succession::promote`] has succeeded the old pool
//! can take all traffic back at any moment, if need be after it has woken.

use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::Drained;

use crate::candidate::Check;
use crate::plan::Plan;

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
    /// workers end, and what they had open or in memory goes with them. What the database has of the
    /// pool stays, as history: its versions, its metrics, its migrations.
    ///
    /// # Errors
    ///
    /// What is left and why, in one line for the operator.
    async fn retire(&self, plan: &Plan, drain: Duration) -> Result<Drained, String>;

    /// The old pool is made cold: it has no workers, and wakes by itself on the first call.
    ///
    /// # Errors
    ///
    /// Why it is still warm, in one line for the operator.
    async fn rest(&self, plan: &Plan, drain: Duration) -> Result<Drained, String>;
}
