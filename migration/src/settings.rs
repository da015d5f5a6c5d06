//! The `[migration]` section of the configuration, and how a plan is made of it.

use std::time::Duration;

use dspex_flags::Percent;
use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::gate::Gate;
use crate::plan::{Chosen, InvalidPlan, Plan, Stage};
use crate::recording::Keep;
use crate::retention::Retention;
use crate::thresholds::{Thresholds, percent};
use crate::validation_rule::ValidationRule;

/// The form of the configuration. [`Settings::plan`] makes a [`Plan`] of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The stages, rising, the last one at 100 %.
    pub stages: Vec<Stage>,
    /// The share of calls that are copied to the other lane and compared, from the deployment on.
    pub shadow: Percent,
    /// Divides every hold, and how long the old pool is kept: 1 is real life, 3600 makes seconds of hours for a rehearsal.
    pub time_scale: f64,
    /// How often the candidate is looked at. Made shorter where a scaled hold is shorter than two
    /// looks.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub interval: Duration,
    /// How far back a look reaches where there are samples enough.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// How far back a look reaches at most; the reach of telemetry's own windows bounds it too.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window_limit: Duration,
    /// How long calls in flight on the candidate may take to finish when it is withdrawn.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub drain_limit: Duration,
    /// How long routers may take to acknowledge a write before it is said that they have not.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub acknowledge_within: Duration,
    /// How long one step (preflight, deploy, verify, withdraw) may take, beyond the drain.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub step_limit: Duration,
    /// Times in which nothing goes up by itself.
    pub freezes: Vec<Freeze>,
    /// What is asked of the candidate after the last stage.
    pub validation: ValidationRule,
    /// How long the old pool is kept.
    pub retention: Retention,
    /// How much of what looks saw is kept, to be judged again by other rules.
    pub recording: Keep,
    /// The rules.
    pub thresholds: Thresholds,
}

impl Default for Settings {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        let stage = |basis_points, hours| Stage {
            percent: percent(basis_points),
            hold: hour * hours,
            gate: Gate::Automatic,
        };
        Self {
            // The design's own stages. It leaves the last one without an end; a migration without
            // an end blocks the next one, so all traffic is watched for one more hour, which is
            // as long as the first stage, and then the migration is complete.
            stages: vec![
                stage(500, 1),
                stage(1_000, 1),
                stage(2_500, 2),
                stage(5_000, 4),
                stage(7_500, 8),
                stage(10_000, 1),
            ],
            shadow: Percent::ZERO,
            time_scale: 1.0,
            interval: Duration::from_secs(5),
            window: Duration::from_secs(60),
            window_limit: Duration::from_secs(600),
            drain_limit: Duration::from_secs(30),
            acknowledge_within: Duration::from_secs(10),
            step_limit: Duration::from_secs(300),
            freezes: Vec::new(),
            validation: ValidationRule::default(),
            retention: Retention::default(),
            recording: Keep::default(),
            thresholds: Thresholds::default(),
        }
    }
}

impl Settings {
    /// Makes a plan. `time_scale` overrides the configured one.
    ///
    /// # Errors
    ///
    /// [`InvalidPlan`] where the stages do not rise to 100 %, the pools are the same, or a number
    /// makes no sense.
    pub fn plan(
        &self,
        stable: impl Into<Chosen>,
        candidate: impl Into<Chosen>,
        time_scale: Option<f64>,
    ) -> Result<Plan, InvalidPlan> {
        let scale = time_scale.unwrap_or(self.time_scale);
        if !(scale.is_finite() && scale > 0.0) {
            let problem = format!("time_scale is {scale}, which is not a number above 0");
            return Err(InvalidPlan { problem });
        }
        let scaled = |span: Duration| {
            Duration::try_from_secs_f64(span.as_secs_f64() / scale).map_err(|error| InvalidPlan {
                problem: format!("time_scale {scale}: {error}"),
            })
        };
        let mut stages = self.stages.clone();
        for stage in &mut stages {
            stage.hold = scaled(stage.hold)?;
        }
        let retention = Retention {
            warm: scaled(self.retention.warm)?,
            decommission_after: scaled(self.retention.decommission_after)?,
        };
        let (stable, candidate) = (stable.into(), candidate.into());
        // A stage must be looked at at least twice, or its hold is decided by the interval.
        let shortest = stages
            .iter()
            .map(|stage| stage.hold)
            .min()
            .unwrap_or_default();
        let interval = self
            .interval
            .min((shortest / 2).max(Duration::from_millis(100)));
        let plan = Plan {
            candidate: candidate.name,
            stable: stable.name,
            candidate_version: candidate.version,
            stable_version: stable.version,
            stages,
            shadow: self.shadow,
            interval,
            window: self.window,
            window_limit: self.window_limit,
            thresholds: self.thresholds.clone(),
            drain_limit: self.drain_limit,
            acknowledge_within: self.acknowledge_within,
            step_limit: self.step_limit,
            freezes: self.freezes.clone(),
            validation: self.validation,
            retention,
        };
        plan.validate()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_scale_divides_the_holds_and_keeps_two_looks_in_each() {
        let plan = Settings::default()
            .plan("v1", "v2", Some(3600.0))
            .expect("valid");
        assert_eq!(plan.stages[4].hold, Duration::from_secs(8));
        assert_eq!(plan.stages[0].hold, Duration::from_secs(1));
        assert_eq!(plan.interval, Duration::from_millis(500));
        let real = Settings::default().plan("v1", "v2", None).expect("valid");
        assert_eq!(real.interval, Duration::from_secs(5));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let refused = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings
                .plan("v1", "v2", None)
                .expect_err("refused")
                .to_string()
        };
        assert!(refused(|s| s.time_scale = f64::NAN).contains("time_scale"));
        assert!(refused(|s| s.time_scale = 0.0).contains("time_scale"));
        assert!(refused(|s| s.stages.clear()).contains("no stages"));
        assert!(refused(|s| s.stages.truncate(5)).contains("last stage is 75 %"));
        assert!(refused(|s| s.stages.swap(0, 1)).contains("only rise"));
        assert!(refused(|s| s.thresholds.p99_ratio.limit = f64::NAN).contains("p99_ratio"));
        assert!(refused(|s| s.thresholds.median_ratio.limit = 0.5).contains("median_ratio"));
        assert!(refused(|s| s.thresholds.minimum_samples = 0).contains("minimum_samples"));
        assert!(refused(|s| s.window_limit = Duration::from_secs(1)).contains("window_limit"));
        assert!(Settings::default().plan("v1", "v1", None).is_err());
    }

    #[test]
    fn unknown_keys_are_refused_and_durations_carry_their_unit() {
        let read = |json| serde_json::from_str::<Settings>(json);
        assert!(
            read(r#"{"intervall": "5s"}"#)
                .expect_err("refused")
                .to_string()
                .contains("interval")
        );
        assert!(read(r#"{"interval": 5}"#).is_err());
        let settings = read(r#"{"interval": "2s", "stages": [{"percent": 100, "hold": "90m"}]}"#);
        let settings = settings.expect("read");
        assert_eq!(settings.interval, Duration::from_secs(2));
        assert_eq!(settings.stages[0].hold, Duration::from_secs(5400));
        let written = serde_json::to_string(&settings).expect("written");
        assert_eq!(read(&written).expect("read again"), settings);
    }
}
