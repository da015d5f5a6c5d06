//! The `[validation]` section of the configuration: how much is tried, and what counts as worse.
//!
//! Invariant: settings that [`ValidationSettings::check`] accepts can be carried out.

use std::time::Duration;

use dspex_flags::Percent;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::thresholds::percent;

/// How a candidate is validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationSettings {
    /// Workers of each rehearsal pool.
    pub workers: usize,
    /// How much worse than stable is no worse: in latency, throughput and time to recover.
    pub tolerance: Percent,
    /// A latency that is worse by no more than this is no worse.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub latency_floor: Duration,
    /// The share of calls that may fail under load where stable's own fail no oftener.
    pub error_rate: Percent,
    /// A recovery within this is good, whatever stable's is.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub recovery_limit: Duration,
    /// A recovery that takes longer than stable's by no more than this is no worse.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub recovery_floor: Duration,
    /// How long one call, and one recovery, is waited for.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub patience: Duration,
    /// Whether language models are asked. Calls of theirs cost tokens.
    pub use_lms: bool,
    /// Calls of the catalog's programs that both pools must answer alike.
    pub cases: Vec<Case>,
    /// The load of a quick validation.
    pub quick: Load,
    /// The load of a full one.
    pub full: Load,
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Users at the same time.
    pub users: usize,
    /// Calls that each of them makes in one round, one after the other.
    pub operations: usize,
    /// Rounds on each pool, at least.
    pub rounds: usize,
    /// Rounds on each pool, at most: they go on while a comparison is undecided.
    pub most_rounds: usize,
    /// How often each fault is done to each pool.
    pub faults: usize,
    /// Calls at the same time where a pool is given more than it can take.
    pub burst: usize,
}

/// A call that both pools must answer alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The program, by its name in the catalog.
    pub program: String,
    /// Inputs by name.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// What both must answer; only that they answer the same where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Map<String, Value>>,
}

/// How much of the suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// A minute's work: few users, and few calls of each. A comparison that stays undecided is not passed.
    Quick,
    /// The whole load. A comparison that stays undecided is not passed either.
    Full,
}

impl Extent {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}: {expected}")]
pub struct InvalidValidation {
    /// Which setting, inside its section.
    pub setting: String,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl Default for ValidationSettings {
    fn default() -> Self {
        Self {
            workers: 2,
            tolerance: percent(1_000),
            latency_floor: Duration::from_millis(10),
            error_rate: percent(10),
            recovery_limit: Duration::from_millis(500),
            recovery_floor: Duration::from_millis(250),
            patience: Duration::from_secs(20),
            use_lms: false,
            cases: Vec::new(),
            quick: Load {
                users: 10,
                operations: 10,
                rounds: 8,
                most_rounds: 32,
                faults: 3,
                burst: 256,
            },
            full: Load {
                users: 100,
                operations: 50,
                rounds: 8,
                most_rounds: 32,
                faults: 5,
                burst: 2_048,
            },
        }
    }
}

impl ValidationSettings {
    /// The load of this extent.
    #[must_use]
    pub fn load(&self, extent: Extent) -> Load {
        match extent {
            Extent::Quick => self.quick,
            Extent::Full => self.full,
        }
    }

    /// Checks what no type can.
    ///
    /// # Errors
    ///
    /// The first setting that cannot be used, and what it may be.
    pub fn check(&self) -> Result<(), InvalidValidation> {
        let within = |setting: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(InvalidValidation {
                setting: setting.to_owned(),
                value: value.to_string(),
                expected: format!("use {least} to {most}"),
            })
        };
        within("workers", self.workers, 1, 64)?;
        for (name, load) in [("quick", self.quick), ("full", self.full)] {
            let of = |setting: &str| format!("{name}.{setting}");
            within(&of("users"), load.users, 1, 1_000)?;
            within(&of("operations"), load.operations, 1, 1_000)?;
            // Below that the median of no number of rounds is known well enough.
            within(&of("rounds"), load.rounds, LEAST_ROUNDS, 100)?;
            within(&of("most_rounds"), load.most_rounds, load.rounds, 1_000)?;
            within(&of("faults"), load.faults, 1, 100)?;
            within(&of("burst"), load.burst, 16, 20_000)?;
        }
        for (setting, span) in [
            ("patience", self.patience),
            ("recovery_limit", self.recovery_limit),
        ] {
            if span < LEAST_SPAN {
                return Err(InvalidValidation {
                    setting: setting.to_owned(),
                    value: crate::wording::span(span),
                    expected: "use at least 100ms".to_owned(),
                });
            }
        }
        for (index, case) in self.cases.iter().enumerate() {
            if case.program.parse::<dspex_pool::ProgramId>().is_err() {
                return Err(InvalidValidation {
                    setting: format!("cases[{index}].program"),
                    value: format!("{:?}", case.program),
                    expected: "name a program of the catalog".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The fewest rounds of which a median's bounds are known at the confidence of `confidence`.
const LEAST_ROUNDS: usize = 7;

/// Shorter than this no process starts.
const LEAST_SPAN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_name() {
        assert_eq!(ValidationSettings::default().check(), Ok(()));
        let refused = |change: fn(&mut ValidationSettings)| {
            let mut settings = ValidationSettings::default();
            change(&mut settings);
            settings.check().expect_err("refused").setting
        };
        assert_eq!(refused(|s| s.workers = 0), "workers");
        assert_eq!(refused(|s| s.quick.rounds = 3), "quick.rounds");
        assert_eq!(refused(|s| s.full.most_rounds = 1), "full.most_rounds");
        assert_eq!(refused(|s| s.full.users = 0), "full.users");
        assert_eq!(refused(|s| s.patience = Duration::ZERO), "patience");
        let unnamed = |s: &mut ValidationSettings| {
            s.cases.push(Case {
                program: "no name".to_owned(),
                inputs: Map::new(),
                expect: None,
            });
        };
        assert_eq!(refused(unnamed), "cases[0].program");
    }

    #[test]
    fn the_fewest_rounds_are_those_that_can_be_judged() {
        let values = |rounds: usize| vec![1.0; rounds];
        assert!(super::super::confidence::bounds(&values(LEAST_ROUNDS)).is_some());
        assert!(super::super::confidence::bounds(&values(LEAST_ROUNDS - 1)).is_none());
    }
}
