//! Who decides whether calls pass: the circuit, or a person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a circuit is allowed to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It opens and closes by what it sees.
    #[default]
    Automatic,
    /// Every call is refused until a person says otherwise.
    ForcedOpen,
    /// Every call passes and is counted, and the circuit never opens.
    MetricsOnly,
    /// Every call passes and nothing is counted.
    Disabled,
}

impl Mode {
    /// The mode's name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::ForcedOpen => "forced_open",
            Self::MetricsOnly => "metrics_only",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
