//! temp
use serde::{Deserialize, Serialize};
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Recycling {}
impl Recycling { pub(crate) fn check(&self) -> Result<(), crate::config::InvalidConfig> { Ok(()) } }
