//! On whose word something was done.

use serde::{Deserialize, Serialize};

/// On whose word something was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
#[non_exhaustive]
pub enum Cause {
    /// The controller's, from what it saw.
    Controller {
        /// What it saw.
        why: String,
    },
    /// A person's.
    Person {
        /// Who.
        who: String,
        /// Why.
        why: String,
    },
}

impl Cause {
    /// Why, without whose word it was.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Controller { why } | Self::Person { why, .. } => why,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller { why } => f.write_str(why),
            Self::Person { who, why } => write!(f, "{who}: {why}"),
        }
    }
}
