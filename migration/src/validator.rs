//! What a migration asks of whoever can hold the candidate against stable once more, after the last
//! stage.
//!
//! Invariant: a validation touches no pool that serves callers.

use async_trait::async_trait;

use crate::candidate::Check;
use crate::plan::Plan;

/// Validates the candidate of a plan.
///
/// It may be called again after it ended or was cut off, and may be dropped at any await: it then
/// leaves nothing behind.
#[async_trait]
pub trait Validator: Send + Sync + 'static {
    /// Runs what [`Plan::validation`] asks for. No check at all is a failure.
    async fn validate(&self, plan: &Plan) -> Vec<Check>;
}
