//! The pool's settings, checked once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of a [`crate::PoolV1`]. Durations are text such as `"5s"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Worker processes. Always 1 in the mode `standalone`.
    pub workers: usize,
    /// How the workers are started.
    pub mode: Mode,
    /// The worker's program and first arguments; `--mode MODE --worker-id ID` is put after them.
    /// Empty: our own bridge, run by the configured Python.
    pub command: Vec<String>,
    /// How long a worker may take to answer its first ping.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// How long a call may wait for a worker.
    #[serde(with = "humantime_serde")]
    pub queue_wait: Duration,
    /// How many calls may wait for a worker.
    pub queue_limit: usize,
    /// How long a call whose caller has left may go on before its worker is replaced.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// How long a worker may take to end when it is asked to.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// How many sessions a worker keeps programs for; the oldest is cleaned up beyond that.
    pub sessions_per_worker: usize,
}

/// How the workers are started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// `--mode pool-worker`: programs live inside their session.
    #[default]
    PoolWorker,
    /// `--mode standalone`: one worker, programs belong to nobody.
    Standalone,
}

impl Mode {
    /// The word for the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PoolWorker => "pool-worker",
            Self::Standalone => "standalone",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 4,
            mode: Mode::default(),
            command: Vec::new(),
            start_timeout: Duration::from_secs(30),
            queue_wait: Duration::from_secs(5),
            queue_limit: 1000,
            give_up_after: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
            sessions_per_worker: 256,
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
        let wrong = |setting, value: usize, expected| {
            Err(InvalidConfig {
                setting,
                value: value.to_string(),
                expected,
            })
        };
        if !(1..=512).contains(&self.workers) {
            return wrong("workers", self.workers, "use 1 to 512");
        }
        if self.sessions_per_worker == 0 {
            return wrong("sessions_per_worker", 0, "use 1 or more");
        }
        if self.start_timeout.is_zero() {
            return wrong("start_timeout", 0, "use more than 0s, such as \"30s\"");
        }
        Ok(())
    }

    /// Worker processes, with the mode taken into account.
    #[must_use]
    pub fn size(&self) -> usize {
        match self.mode {
            Mode::PoolWorker => self.workers,
            Mode::Standalone => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let config = Config {
            workers: 0,
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().setting, "workers");
        assert_eq!(Config::default().check(), Ok(()));
        let standalone = Config {
            mode: Mode::Standalone,
            ..Config::default()
        };
        assert_eq!(standalone.size(), 1);
    }
}
