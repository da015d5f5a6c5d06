//! A circuit's settings. What has been deserialized is valid; what is written in code is checked
//! when a circuit is made from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::InvalidConfig;
use crate::chance::unit;
use crate::checked::checked;

/// The most calls that a window of calls may hold: a failure walks over all of them.
const MOST_CALLS: u32 = 10_000;

/// When a circuit opens, for how long, and what closes it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct CircuitConfig {
    /// How far back failures are counted for the failure rate.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Where it is given, the window holds the last so many calls, however long ago, and `window` is
    /// not used.
    pub window_calls: Option<u32>,
    /// How many calls the window must hold before the failure rate says anything.
    pub minimum_calls: u32,
    /// The share of failed calls in the window, above 0 and up to 1, at which the circuit opens.
    pub failure_rate: f64,
    /// A call that takes this long is slow. Only looked at where there is a `slow_call_rate`.
    #[serde(with = "humantime_serde")]
    pub slow_call: Duration,
    /// The share of slow calls in the window, above 0 and up to 1, at which the circuit opens,
    /// whether they failed or not. Where there is none, slow calls are like others.
    pub slow_call_rate: Option<f64>,
    /// How many failures in a row open the circuit, whatever the rate.
    pub consecutive_failures: u32,
    /// How long the circuit stays open before it lets probes through.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    /// By what factor, from 1, it stays open longer each time that its probes fail. 1 is: always
    /// the same time.
    pub open_growth: f64,
    /// The longest that it stays open, however often its probes fail; never shorter than `open_for`.
    #[serde(with = "humantime_serde")]
    pub open_max: Duration,
    /// The share of the open time, 0 to 1, that chance may take off, so that many circuits on one
    /// callee do not probe it in one moment.
    pub open_jitter: f64,
    /// How many probes may be under way at once while half-open.
    pub half_open_max: u32,
    /// While half-open: when all probes have been under way for so long, and another call asks, the
    /// circuit opens again.
    #[serde(with = "humantime_serde")]
    pub half_open_max_wait: Duration,
    /// How many probes must succeed to close the circuit.
    pub close_after: u32,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            window_calls: None,
            minimum_calls: 5,
            failure_rate: 0.5,
            slow_call: Duration::from_secs(60),
            slow_call_rate: None,
            consecutive_failures: 5,
            open_for: Duration::from_secs(60),
            open_growth: 1.0,
            open_max: Duration::from_secs(600),
            open_jitter: 0.0,
            half_open_max: 3,
            half_open_max_wait: Duration::from_secs(120),
            close_after: 3,
        }
    }
}

impl CircuitConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        const POSITIVE: &str = "it must be at least 1";
        for (setting, value) in [
            ("minimum_calls", self.minimum_calls),
            ("consecutive_failures", self.consecutive_failures),
            ("half_open_max", self.half_open_max),
            ("close_after", self.close_after),
        ] {
            if value == 0 {
                return Err(InvalidConfig::new(setting, &value, POSITIVE));
            }
        }
        const SHARE: &str = "it must be above 0 and at most 1";
        let share = |share: f64| share > 0.0 && share <= 1.0;
        if !share(self.failure_rate) {
            return Err(InvalidConfig::new(
                "failure_rate",
                &self.failure_rate,
                SHARE,
            ));
        }
        if let Some(rate) = self.slow_call_rate.filter(|rate| !share(*rate)) {
            return Err(InvalidConfig::new("slow_call_rate", &rate, SHARE));
        }
        self.validate_window()?;
        self.validate_times()
    }

    fn validate_window(&self) -> Result<(), InvalidConfig> {
        if let Some(calls) = self.window_calls {
            if !(1..=MOST_CALLS).contains(&calls) {
                return Err(InvalidConfig::new(
                    "window_calls",
                    &calls,
                    "it must be 1 to 10000",
                ));
            }
            if calls < self.minimum_calls {
                return Err(InvalidConfig::new(
                    "window_calls",
                    &calls,
                    "it must not be less than minimum_calls, which would never be reached",
                ));
            }
        }
        if self.window < Duration::from_millis(1) {
            return Err(InvalidConfig::new(
                "window",
                &humantime::format_duration(self.window),
                "it must be at least 1ms",
            ));
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), InvalidConfig> {
        for (setting, time) in [
            ("open_for", self.open_for),
            ("slow_call", self.slow_call),
            ("half_open_max_wait", self.half_open_max_wait),
        ] {
            if time.is_zero() {
                return Err(InvalidConfig::new(
                    setting,
                    &humantime::format_duration(time),
                    "it must be longer than 0s",
                ));
            }
        }
        if !(self.open_growth >= 1.0 && self.open_growth.is_finite()) {
            return Err(InvalidConfig::new(
                "open_growth",
                &self.open_growth,
                "it must be a number from 1",
            ));
        }
        if !(0.0..=1.0).contains(&self.open_jitter) {
            return Err(InvalidConfig::new(
                "open_jitter",
                &self.open_jitter,
                "it must be between 0 and 1",
            ));
        }
        Ok(())
    }

    /// How long the circuit stays open when it opens for the `time`th time in a row, from 1.
    /// `random` is uniform over all of `u64`.
    #[must_use]
    pub fn open_time(&self, time: u32, random: u64) -> Duration {
        let cap = self.open_max.max(self.open_for);
        let times = f64::from(time.saturating_sub(1));
        let factor = self.open_growth.powf(times);
        let whole = Duration::try_from_secs_f64(self.open_for.as_secs_f64() * factor);
        // What is too long for a duration is beyond the cap; what has not grown keeps its last
        // nanosecond.
        let whole = match whole {
            _ if factor <= 1.0 => self.open_for,
            Ok(whole) => whole.min(cap),
            Err(_) => cap,
        };
        if self.open_jitter <= 0.0 {
            return whole;
        }
        whole
            .mul_f64(1.0 - self.open_jitter * unit(random))
            .max(Duration::from_nanos(1))
    }
}

checked!(CircuitConfig);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<CircuitConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = CircuitConfig {
            open_for: Duration::from_millis(1_500),
            ..CircuitConfig::default()
        };
        let json = serde_json::to_string(&config).unwrap();
        assert!(json.contains(r#""open_for":"1s 500ms""#), "{json}");
        assert_eq!(parse(&json).unwrap(), config);
        assert_eq!(parse("{}").unwrap(), CircuitConfig::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        for (json, reason) in [
            (
                r#"{"half_open_max":0}"#,
                "half_open_max is 0: it must be at least 1",
            ),
            (r#"{"close_after":0}"#, "close_after is 0"),
            (r#"{"minimum_calls":0}"#, "minimum_calls is 0"),
            (r#"{"consecutive_failures":0}"#, "consecutive_failures is 0"),
            (
                r#"{"failure_rate":0.0}"#,
                "failure_rate is 0: it must be above 0 and at most 1",
            ),
            (r#"{"failure_rate":50}"#, "failure_rate is 50"),
            (
                r#"{"window":"0s"}"#,
                "window is 0s: it must be at least 1ms",
            ),
            (
                r#"{"open_for":"0s"}"#,
                "open_for is 0s: it must be longer than 0s",
            ),
            (r#"{"slow_call_rate":1.5}"#, "slow_call_rate is 1.5"),
            (r#"{"slow_call":"0s"}"#, "slow_call is 0s"),
            (r#"{"half_open_max_wait":"0s"}"#, "half_open_max_wait is 0s"),
            (r#"{"open_growth":0.5}"#, "open_growth is 0.5"),
            (r#"{"open_jitter":2}"#, "open_jitter is 2"),
            (r#"{"window_calls":0}"#, "window_calls is 0"),
            (
                r#"{"window_calls":3}"#,
                "window_calls is 3: it must not be less than minimum_calls",
            ),
            (r#"{"open_for":"soon"}"#, "\"soon\", expected a duration"),
            (r#"{"open_fro":"1s"}"#, "unknown field `open_fro`"),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
        let nan = CircuitConfig {
            failure_rate: f64::NAN,
            ..CircuitConfig::default()
        };
        assert!(nan.validate().is_err());
    }

    #[test]
    fn the_open_time_grows_up_to_its_cap_and_chance_takes_its_share() {
        let seconds = |config: &CircuitConfig| {
            [1, 2, 3, 4, 1_000, u32::MAX].map(|time| config.open_time(time, u64::MAX).as_secs())
        };
        let same = CircuitConfig::default();
        assert_eq!(seconds(&same), [60; 6]);
        let growing = CircuitConfig {
            open_growth: 2.0,
            open_max: Duration::from_secs(200),
            ..CircuitConfig::default()
        };
        assert_eq!(seconds(&growing), [60, 120, 200, 200, 200, 200]);
        let jittered = CircuitConfig {
            open_jitter: 0.5,
            ..growing
        };
        assert_eq!(seconds(&jittered), [30, 60, 100, 100, 100, 100]);
        assert_eq!(jittered.open_time(2, 0), Duration::from_secs(120));
    }
}
