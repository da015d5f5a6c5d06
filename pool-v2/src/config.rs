//! The pool's settings, checked once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of a [`crate::PoolV2`]. Durations are text such as `"5s"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Worker processes.
    pub workers: usize,
    /// Calls that one worker runs at the same time. At 1 strictly one after the other.
    pub concurrency: usize,
    /// Python modules that a worker imports before it is ready.
    pub preload: Vec<String>,
    /// How long a worker may take to be ready.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// How long a call may wait for a worker.
    #[serde(with = "humantime_serde")]
    pub queue_wait: Duration,
    /// How many calls may wait for a worker.
    pub queue_limit: usize,
    /// How often a worker is asked whether it is well.
    #[serde(with = "humantime_serde")]
    pub health_interval: Duration,
    /// How long it may take to say so.
    #[serde(with = "humantime_serde")]
    pub health_timeout: Duration,
    /// A worker is degraded after one failed health check and replaced after this many in a row.
    pub health_failures: u32,
    /// How long a call that was given up may go on in its worker before the worker is replaced.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// How long a worker may take to end when it is asked to.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 4,
            concurrency: 4,
            preload: Vec::new(),
            start_timeout: Duration::from_secs(30),
            queue_wait: Duration::from_secs(5),
            queue_limit: 1000,
            health_interval: Duration::from_secs(30),
            health_timeout: Duration::from_secs(5),
            health_failures: 3,
            give_up_after: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} = {value} cannot be used: {expected}")]
pub struct InvalidConfig {
    /// Which setting.
    pub setting: &'static str,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub expected: &'static str,
}

impl Config {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let counts = [
            ("workers", self.workers, 1..=512, "use 1 to 512"),
            ("concurrency", self.concurrency, 1..=1024, "use 1 to 1024"),
            (
                "health_failures",
                self.health_failures as usize,
                1..=100,
                "use 1 to 100",
            ),
        ];
        for (setting, value, range, expected) in counts {
            if !range.contains(&value) {
                return Err(InvalidConfig {
                    setting,
                    value: value.to_string(),
                    expected,
                });
            }
        }
        let times = [
            ("start_timeout", self.start_timeout),
            ("health_interval", self.health_interval),
            ("health_timeout", self.health_timeout),
            ("give_up_after", self.give_up_after),
        ];
        for (setting, value) in times {
            if value.is_zero() {
                let expected = "use more than 0s, such as \"5s\"";
                return Err(InvalidConfig {
                    setting,
                    value: "0s".to_owned(),
                    expected,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let config = Config {
            concurrency: 0,
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().setting, "concurrency");
        let config = Config {
            give_up_after: Duration::ZERO,
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().setting, "give_up_after");
    }
}
