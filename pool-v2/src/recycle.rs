//! temp
use serde::{Deserialize, Serialize};
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recycling {pub max_calls: Option<u64>, pub jitter: f64, pub spacing: std::time::Duration}
impl Recycling { pub(crate) fn check(&self) -> Result<(), crate::config::InvalidConfig> { Ok(()) } }
