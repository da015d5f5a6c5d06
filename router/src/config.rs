//! The router's settings.
//!
//! Invariant: a [`crate::Router`] is only made from settings that [`RouterConfig::validate`]
//! accepts.

use std::time::Duration;

use dspex_breaker::{BudgetConfig, CircuitConfig};
use serde::{Deserialize, Serialize};

use crate::error::InvalidConfig;
use crate::rescue::RescueConfig;
use crate::sessions::SessionsConfig;
use crate::shadow::ShadowConfig;

/// How calls are timed, limited and failed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterConfig {
    /// How long a call may take where its caller names no timeout.
    #[serde(with = "humantime_serde")]
    pub call_timeout: Duration,
    /// The longest timeout that a caller may name.
    #[serde(with = "humantime_serde")]
    pub call_timeout_limit: Duration,
    /// The share of its time, between 0 and 1, that a repeatable call gives the candidate at most.
    /// Stable has the rest, should the candidate not answer.
    pub candidate_share_of_deadline: f64,
    /// How long stable may take to build a program when it is created.
    #[serde(with = "humantime_serde")]
    pub check_timeout: Duration,
    /// How long the candidate may take to build a program when it is created. Creation does not
    /// fail where it takes longer.
    #[serde(with = "humantime_serde")]
    pub candidate_check_timeout: Duration,
    /// When a lane's circuit opens and closes.
    pub circuit: CircuitConfig,
    /// How many calls may be sent once more: to stable, because the candidate failed them, or to
    /// another worker of stable, because it lost one.
    pub retry_budget: BudgetConfig,
    /// What is done about a call that a pool failed, by the class of the failure.
    pub recovery: RescueConfig,
    /// The largest inputs of one call, in bytes of JSON.
    pub max_inputs_bytes: usize,
    /// Chunks of one streamed answer that may be on their way to a caller who does not take them.
    pub stream_window: u32,
    /// How many session states are kept, how large, and for how long.
    pub sessions: SessionsConfig,
    /// How calls are copied to the other lane and compared. How many are is a flag.
    pub shadow: ShadowConfig,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(60),
            call_timeout_limit: Duration::from_secs(600),
            candidate_share_of_deadline: 0.5,
            check_timeout: Duration::from_secs(60),
            candidate_check_timeout: Duration::from_secs(10),
            circuit: CircuitConfig::default(),
            // Half: no caller pays for the migration, so until its circuit opens a candidate may fail
            // many calls at once, and stable is to answer them. But not with twice its load.
            retry_budget: BudgetConfig {
                share: 0.5,
                minimum_per_second: 50.0,
                ..BudgetConfig::default()
            },
            recovery: RescueConfig::default(),
            max_inputs_bytes: 8 * 1024 * 1024,
            stream_window: 16,
            sessions: SessionsConfig::default(),
            shadow: ShadowConfig::default(),
        }
    }
}

impl RouterConfig {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names the first setting that is out of its range, and what would be accepted.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let wrong = |setting, value: String, expected| {
            Err(InvalidConfig {
                setting,
                value,
                expected,
            })
        };
        for (setting, duration) in [
            ("call_timeout", self.call_timeout),
            ("check_timeout", self.check_timeout),
            ("candidate_check_timeout", self.candidate_check_timeout),
        ] {
            if duration.is_zero() {
                return wrong(setting, "0s".to_owned(), "longer than 0s");
            }
        }
        if self.call_timeout_limit < self.call_timeout {
            return wrong(
                "call_timeout_limit",
                humantime::format_duration(self.call_timeout_limit).to_string(),
                "at least `call_timeout`",
            );
        }
        if self.call_timeout_limit > Duration::from_secs(24 * 3600) {
            return wrong(
                "call_timeout_limit",
                humantime::format_duration(self.call_timeout_limit).to_string(),
                "at most 1day",
            );
        }
        let share = self.candidate_share_of_deadline;
        if !(share > 0.0 && share < 1.0) {
            return wrong(
                "candidate_share_of_deadline",
                share.to_string(),
                "above 0 and below 1",
            );
        }
        if self.max_inputs_bytes == 0 {
            return wrong("max_inputs_bytes", "0".to_owned(), "at least 1");
        }
        if !(1..=65_536).contains(&self.stream_window) {
            let window = self.stream_window.to_string();
            return wrong("stream_window", window, "at least 1 and at most 65536");
        }
        if let Err((setting, value, expected)) = self.sessions.validate() {
            return wrong(setting, value, expected);
        }
        if let Err((setting, value, expected)) = self.shadow.validate() {
            return wrong(setting, value, expected);
        }
        if let Err((setting, value, expected)) = self.recovery.validate() {
            return wrong(setting, value, expected);
        }
        let checked = self.circuit.validate();
        let checked = checked.and_then(|()| self.retry_budget.validate());
        checked.map_err(|error| InvalidConfig {
            setting: error.setting,
            value: error.value,
            expected: error.expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_survive_being_written() {
        let config = RouterConfig::default();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""call_timeout":"1m""#), "{text}");
        assert_eq!(serde_json::from_str::<RouterConfig>(&text).unwrap(), config);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |change: fn(&mut RouterConfig)| {
            let mut config = RouterConfig::default();
            change(&mut config);
            config.validate().unwrap_err().setting
        };
        assert_eq!(refused(|c| c.call_timeout = Duration::ZERO), "call_timeout");
        assert_eq!(
            refused(|c| c.call_timeout_limit = Duration::from_secs(1)),
            "call_timeout_limit"
        );
        for share in [0.0, 1.0, -0.5, f64::NAN] {
            let config = RouterConfig {
                candidate_share_of_deadline: share,
                ..RouterConfig::default()
            };
            assert_eq!(
                config.validate().unwrap_err().setting,
                "candidate_share_of_deadline"
            );
        }
        assert_eq!(refused(|c| c.max_inputs_bytes = 0), "max_inputs_bytes");
        assert_eq!(refused(|c| c.stream_window = 0), "stream_window");
        assert_eq!(
            refused(|c| c.sessions.expire_after = Duration::ZERO),
            "sessions.expire_after"
        );
        assert_eq!(refused(|c| c.shadow.queue = 0), "shadow.queue");
        assert_eq!(
            refused(|c| c.shadow.noise.floor = f64::NAN),
            "shadow.noise.floor"
        );
        assert_eq!(
            refused(|c| c.shadow.rules.ignore = vec!["usage".to_owned()]),
            "shadow.rules"
        );
        assert_eq!(refused(|c| c.recovery.listed = 1 << 20), "recovery.listed");
        assert_eq!(refused(|c| c.circuit.half_open_max = 0), "half_open_max");
        assert_eq!(refused(|c| c.retry_budget.share = -1.0), "share");
    }

    #[test]
    fn unknown_settings_and_bare_numbers_are_refused() {
        for text in [r#"{"call_timeuot":"1s"}"#, r#"{"call_timeout":60}"#] {
            assert!(
                serde_json::from_str::<RouterConfig>(text).is_err(),
                "{text}"
            );
        }
    }
}
