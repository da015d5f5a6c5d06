//! Kinds of failure and how grave they are. A class says where the failure arose, so that the
//! matrix can say what to do; it says nothing about one call's details.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a failure arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// A worker or a pool could not be brought up.
    Initialization,
    /// The wire to a worker broke, or could not be made.
    Connection,
    /// The wire stands, but what came over it makes no sense.
    Communication,
    /// No answer within the deadline.
    Timeout,
    /// Memory, descriptors, processes or places in a queue ran out.
    Resource,
    /// A health check failed.
    HealthCheck,
    /// A session's state could not be found or restored.
    Session,
    /// Python code raised.
    Python,
    /// The operating system refused, or we have a bug.
    System,
    /// The caller's fault: input that no retry makes right.
    Caller,
    /// The fault of the provider behind the program, such as the model's 429 or 5xx.
    Provider,
}

impl ErrorClass {
    /// Every class, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Initialization,
        Self::Connection,
        Self::Communication,
        Self::Timeout,
        Self::Resource,
        Self::HealthCheck,
        Self::Session,
        Self::Python,
        Self::System,
        Self::Caller,
        Self::Provider,
    ];

    /// The class's name in configuration, logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Initialization => "initialization",
            Self::Connection => "connection",
            Self::Communication => "communication",
            Self::Timeout => "timeout",
            Self::Resource => "resource",
            Self::HealthCheck => "health_check",
            Self::Session => "session",
            Self::Python => "python",
            Self::System => "system",
            Self::Caller => "caller",
            Self::Provider => "provider",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How grave a failure is. The order is meant: `Minor < Major < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// One call, or one check, is affected.
    Minor,
    /// A worker is affected.
    Major,
    /// A pool is affected.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_serialized_name() {
        for class in ErrorClass::ALL {
            let text = serde_json::to_string(&class).unwrap();
            assert_eq!(text, format!("\"{class}\""));
            assert_eq!(serde_json::from_str::<ErrorClass>(&text).unwrap(), class);
        }
    }

    #[test]
    fn severities_are_ordered() {
        assert!(Severity::Minor < Severity::Major);
        assert!(Severity::Major < Severity::Critical);
    }
}
