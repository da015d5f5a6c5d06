//! A recovery's settings. What has been deserialized is valid; what is written in code is checked when a
//! recovery is made from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checked::checked;
use crate::{InvalidConfig, Matrix, Severity};

/// The most recoveries that either list may hold.
const MOST_LISTED: usize = 1_000;

/// How long a recovery may take, by how grave its failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Deadlines {
    /// Where one call is affected.
    #[serde(with = "humantime_serde")]
    pub minor: Duration,
    /// Where a worker is.
    #[serde(with = "humantime_serde")]
    pub major: Duration,
    /// Where a pool is.
    #[serde(with = "humantime_serde")]
    pub critical: Duration,
}

impl Default for Deadlines {
    /// The graver, the shorter: 60 s, 30 s and 10 s. What is broken as a whole should be said soon.
    fn default() -> Self {
        Self {
            minor: Duration::from_secs(60),
            major: Duration::from_secs(30),
            critical: Duration::from_secs(10),
        }
    }
}

impl Deadlines {
    /// The time for failures of this severity.
    #[must_use]
    pub fn of(&self, severity: Severity) -> Duration {
        match severity {
            Severity::Minor => self.minor,
            Severity::Major => self.major,
            Severity::Critical => self.critical,
        }
    }

    /// Checks every deadline.
    ///
    /// # Errors
    ///
    /// Names the first that is zero.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        for (setting, time) in [
            ("minor", self.minor),
            ("major", self.major),
            ("critical", self.critical),
        ] {
            if time.is_zero() {
                return Err(InvalidConfig::new(
                    setting,
                    &"0s",
                    "a deadline must be longer than 0s; to try nothing is `abandon`",
                ));
            }
        }
        Ok(())
    }
}

/// What a recovery goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct RecoveryConfig {
    /// What to do about which class.
    pub matrix: Matrix,
    /// How long to go on.
    pub deadlines: Deadlines,
    /// How many recoveries under way are listed at most, and how many that have ended; 0 to 1000.
    pub listed: usize,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            matrix: Matrix::default(),
            deadlines: Deadlines::default(),
            listed: 32,
        }
    }
}

impl RecoveryConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// When a rule of the matrix cannot be followed, a deadline is zero, or a list is too long.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.matrix.validate()?;
        self.deadlines.validate()?;
        if self.listed > MOST_LISTED {
            return Err(InvalidConfig::new(
                "listed",
                &self.listed,
                "it must be at most 1000",
            ));
        }
        Ok(())
    }
}

checked!(Deadlines, RecoveryConfig);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_however_it_is_written() {
        for (json, reason) in [
            (
                r#"{"deadlines":{"major":"0s"}}"#,
                "major is 0s: a deadline must be longer",
            ),
            (
                r#"{"listed":1001}"#,
                "listed is 1001: it must be at most 1000",
            ),
            (
                r#"{"matrix":{"timeout":{"severity":"minor","strategy":"abandon","retries":1,
                    "backoff":{"kind":"none"}}}}"#,
                "timeout is retries is 1",
            ),
            (r#"{"listd":1}"#, "unknown field `listd`"),
        ] {
            let error = serde_json::from_str::<RecoveryConfig>(json).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let config = RecoveryConfig {
            listed: 0,
            ..RecoveryConfig::default()
        };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<RecoveryConfig>(&json).unwrap(),
            config
        );
        assert_eq!(
            serde_json::from_str::<RecoveryConfig>("{}").unwrap(),
            RecoveryConfig::default()
        );
    }
}
