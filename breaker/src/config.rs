//! A circuit's settings. What has been deserialized is valid; what is written in code is checked
//! when a circuit is made from it.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::InvalidConfig;

/// When a circuit opens, for how long, and what closes it again.
// `remote = "Self"` makes serde's derive an inherent function, so that the trait's own can call it
// and then check what came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct CircuitConfig {
    /// How far back failures are counted for the failure rate.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How many calls the window must hold before the failure rate says anything.
    pub minimum_calls: u32,
    /// The share of failed calls in the window, above 0 and up to 1, at which the circuit opens.
    pub failure_rate: f64,
    /// How many failures in a row open the circuit, whatever the rate.
    pub consecutive_failures: u32,
    /// How long the circuit stays open before it lets probes through.
    #[serde(with = "humantime_serde")]
    pub open_for: Duration,
    /// How many probes may be under way at once while half-open.
    pub half_open_max: u32,
    /// How many probes must succeed to close the circuit.
    pub close_after: u32,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            minimum_calls: 5,
            failure_rate: 0.5,
            consecutive_failures: 5,
            open_for: Duration::from_secs(60),
            half_open_max: 3,
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
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            return Err(InvalidConfig::new(
                "failure_rate",
                &self.failure_rate,
                "it must be above 0 and at most 1",
            ));
        }
        if self.window < Duration::from_millis(1) {
            return Err(InvalidConfig::new(
                "window",
                &humantime::format_duration(self.window),
                "it must be at least 1ms",
            ));
        }
        if self.open_for.is_zero() {
            return Err(InvalidConfig::new(
                "open_for",
                &humantime::format_duration(self.open_for),
                "it must be longer than 0s",
            ));
        }
        Ok(())
    }
}

impl Serialize for CircuitConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for CircuitConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = Self::deserialize(deserializer)?;
        config.validate().map_err(D::Error::custom)?;
        Ok(config)
    }
}

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
}
