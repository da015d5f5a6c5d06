//! What is asked of the candidate after the last stage, and what is done where it fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::thresholds::Action;
use crate::wording;

/// How much is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validate {
    /// Nothing.
    None,
    /// Everything, in small.
    Quick,
    /// Everything.
    Full,
}

/// What is validated after the last stage, and what is done where that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationRule {
    /// How much.
    pub run: Validate,
    /// [`Action::Pause`] or [`Action::Rollback`].
    pub on_failure: Action,
    /// How long it may take.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub limit: Duration,
}

impl Default for ValidationRule {
    fn default() -> Self {
        Self {
            run: Validate::Quick,
            // All traffic was seen healthy on the candidate for a whole stage by then: what a
            // rehearsal finds after that is for a person to weigh.
            on_failure: Action::Pause,
            limit: Duration::from_secs(15 * 60),
        }
    }
}

impl ValidationRule {
    /// Plans that were made before there was a validation ask for none.
    pub(crate) fn of_old_plans() -> Self {
        Self {
            run: Validate::None,
            ..Self::default()
        }
    }

    /// What is wrong with this rule, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        if !matches!(self.on_failure, Action::Pause | Action::Rollback) {
            return Some(
                "validation.on_failure is neither \"pause\" nor \"rollback\": a validation that fails \
                 must have a consequence, and validation.run = \"none\" runs none"
                    .into(),
            );
        }
        (self.limit < Duration::from_millis(10)).then(|| {
            format!(
                "validation.limit is {}: at least 10ms",
                wording::span(self.limit)
            )
        })
    }
}
