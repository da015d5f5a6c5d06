//! The optimizer's settings, checked once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::InvalidConfig;

/// When a pool grows and when it shrinks. Durations are text such as `"60s"`, shares are fractions
/// of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// How often the size is looked at.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// How far back utilization and waits are judged, but never beyond the last change of the size.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// The fewest workers.
    pub min: usize,
    /// The most workers, without overflow.
    pub max: usize,
    /// The most overflow workers beyond the size.
    pub overflow: usize,
    /// A pool that is busier than this over an interval, and has a queue, grows at once.
    pub scale_up_utilization: f64,
    /// A pool that is less busy than this over the window shrinks by one each interval.
    pub scale_down_utilization: f64,
    /// Below this a pool shrinks by one each cooldown, and sooner the further below, as long as it
    /// stays under the middle of the target.
    pub target_low: f64,
    /// Above this for a whole window a pool grows by one.
    pub target_high: f64,
    /// Calls that wait longer for a worker bring overflow workers; where they do so at p95, one
    /// more worker.
    #[serde(with = "humantime_serde")]
    pub queue_wait_limit: Duration,
    /// Looks at the pool without which its size stays.
    pub minimum_samples: u64,
    /// The most workers that are added at once.
    pub up_by_at_most: usize,
    /// How long after the size was raised it is not lowered, and the other way round.
    #[serde(with = "humantime_serde")]
    pub cooldown: Duration,
    /// How long an overflow worker is kept after it was needed last.
    #[serde(with = "humantime_serde")]
    pub overflow_rest: Duration,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            window: Duration::from_secs(5 * 60),
            min: 5,
            max: 50,
            overflow: 10,
            scale_up_utilization: 0.9,
            scale_down_utilization: 0.3,
            target_low: 0.6,
            target_high: 0.8,
            queue_wait_limit: Duration::from_millis(100),
            minimum_samples: 10,
            up_by_at_most: 4,
            cooldown: Duration::from_secs(5 * 60),
            overflow_rest: Duration::from_secs(10),
        }
    }
}

impl OptimizerConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let refuse = |setting, value: String, expected| {
            Err(InvalidConfig {
                setting,
                value,
                expected,
            })
        };
        if self.min == 0 || self.min > self.max {
            let value = format!("{} to {}", self.min, self.max);
            return refuse(
                "optimizer.min",
                value,
                "use at least 1, and no more than max",
            );
        }
        if self.max > 512 || self.overflow > 512 {
            let value = format!("{} and {}", self.max, self.overflow);
            return refuse("optimizer.max and overflow", value, "use at most 512 each");
        }
        let shares = [
            self.scale_down_utilization,
            self.target_low,
            self.target_high,
            self.scale_up_utilization,
        ];
        // NaN is smaller than nothing, so it is refused here too.
        let rising = shares.windows(2).all(|pair| pair[0] < pair[1]);
        if !(rising && shares[0] > 0.0 && shares[3] <= 1.0) {
            let value = format!("{shares:?}");
            let expected = "scale_down_utilization < target_low < target_high < \
                            scale_up_utilization, all above 0 and at most 1";
            return refuse("optimizer's utilizations", value, expected);
        }
        let times = [
            ("optimizer.interval", self.interval),
            ("optimizer.queue_wait_limit", self.queue_wait_limit),
        ];
        for (setting, value) in times {
            if value.is_zero() {
                return refuse(
                    setting,
                    "0s".to_owned(),
                    "use more than 0s, such as \"60s\"",
                );
            }
        }
        if self.window < self.interval {
            let value = format!("{:?}", self.window);
            return refuse("optimizer.window", value, "use at least the interval");
        }
        if self.minimum_samples == 0 || self.minimum_samples > self.interval.as_secs().max(1) {
            let value = self.minimum_samples.to_string();
            let expected =
                "use 1 up to the seconds of the interval: the pool is looked at once a second";
            return refuse("optimizer.minimum_samples", value, expected);
        }
        if self.up_by_at_most == 0 {
            return refuse("optimizer.up_by_at_most", "0".to_owned(), "use at least 1");
        }
        Ok(())
    }
}
