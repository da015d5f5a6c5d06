//! The two lanes: the pool that serves now, and the pool being brought in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which pool answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// The pool that serves now.
    Stable,
    /// The pool being brought in.
    Candidate,
}

impl Lane {
    /// Both lanes.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Candidate];

    /// The lane's name in headers, labels and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
