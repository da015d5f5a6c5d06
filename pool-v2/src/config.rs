//! The pool's settings, checked once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::affinity::AffinityConfig;
use crate::leak::LeakConfig;
use crate::optimizer::OptimizerConfig;
use crate::recovery::RecoveryConfig;
use crate::recycle::RecyclingConfig;
use crate::warmer::WarmConfig;

/// Settings of a [`crate::PoolV2`]. Durations are text such as `"5s"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Worker processes.
    pub workers: usize,
    /// Calls that one worker runs at the same time. At 1 strictly one after the other.
    pub concurrency: usize,
    /// Python modules that are imported before a worker is ready: once, in the fork server, where
    /// there is one.
    pub preload: Vec<String>,
    /// How long a worker may take to be ready.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// How long a call may wait for a worker.
    #[serde(with = "humantime_serde")]
    pub queue_wait: Duration,
    /// How many calls may wait for a worker.
    pub queue_limit: usize,
    /// How many calls of one session may be in flight. 0: as many as like.
    pub calls_per_session: usize,
    /// How many calls of one caller may be in flight. 0: as many as like.
    pub calls_per_caller: usize,
    /// How often a worker is asked whether it is well.
    #[serde(with = "humantime_serde")]
    pub health_interval: Duration,
    /// How long it may take to say so.
    #[serde(with = "humantime_serde")]
    pub health_timeout: Duration,
    /// How long a call that was given up may go on in its worker before the worker is replaced.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// How long a worker may take to end when it is asked to.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// How sessions are kept near their workers.
    pub affinity: AffinityConfig,
    /// How workers are warmed.
    pub warm: WarmConfig,
    /// When workers are taken out of service, and how they are started anew.
    pub recovery: RecoveryConfig,
    /// When workers are replaced although they are well.
    pub recycling: RecyclingConfig,
    /// How growing memory is looked for.
    pub leak: LeakConfig,
    /// When the pool changes its size, while the switch `pool_optimizer` is on.
    pub optimizer: OptimizerConfig,
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
            calls_per_session: 0,
            calls_per_caller: 0,
            health_interval: Duration::from_secs(30),
            health_timeout: Duration::from_secs(5),
            give_up_after: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(10),
            affinity: AffinityConfig::default(),
            warm: WarmConfig::default(),
            recovery: RecoveryConfig::default(),
            recycling: RecyclingConfig::default(),
            leak: LeakConfig::default(),
            optimizer: OptimizerConfig::default(),
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
            ("warm.at_once", self.warm.at_once, 1..=512, "use 1 to 512"),
            (
                "affinity.max_sessions",
                self.affinity.max_sessions,
                1..=100_000_000,
                "use 1 to 100000000",
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
            ("affinity.expire_after", self.affinity.expire_after),
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
        self.recovery.check()?;
        self.recycling.check()?;
        self.leak.check()?;
        self.optimizer.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.check().unwrap_err().setting
        };
        assert_eq!(refused(|c| c.concurrency = 0), "concurrency");
        assert_eq!(
            refused(|c| c.give_up_after = Duration::ZERO),
            "give_up_after"
        );
        assert_eq!(refused(|c| c.warm.at_once = 0), "warm.at_once");
        assert_eq!(
            refused(|c| c.affinity.expire_after = Duration::ZERO),
            "affinity.expire_after"
        );
        assert_eq!(
            refused(|c| c.recovery.health_failures = 0),
            "recovery.health_failures"
        );
        assert_eq!(refused(|c| c.optimizer.min = 0), "optimizer.min");
    }
}
