//! What can go wrong here: a configuration that makes no sense, and a call that is refused.

use std::sync::Arc;
use std::time::Duration;

/// A setting of a circuit or a backoff is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: {expected}")]
pub struct InvalidConfig {
    /// Which setting.
    pub setting: &'static str,
    /// The value that was given.
    pub value: String,
    /// What would be accepted.
    pub expected: &'static str,
}

impl InvalidConfig {
    pub(crate) fn new(setting: &'static str, value: &dyn ToString, expected: &'static str) -> Self {
        Self {
            setting,
            value: value.to_string(),
            expected,
        }
    }
}

/// The circuit lets no call through now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("circuit {circuit} lets no call through: try again in {retry_after:?}")]
pub struct Refused {
    /// Which circuit.
    pub circuit: Arc<str>,
    /// When another try may be worthwhile.
    pub retry_after: Duration,
}
