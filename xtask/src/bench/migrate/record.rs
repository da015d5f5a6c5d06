//! `bench/results/migrate.json`: all that a run found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::figures::Figure;
use super::{COSTS, figures};
use crate::surroundings::Surroundings;

/// One run, or two: one of the simulations, and a later one of the costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(in crate::bench) struct Record {
    /// Of the run of the simulations.
    pub(in crate::bench) surroundings: Surroundings,
    /// Of the run of the costs, where that was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cost_surroundings: Option<Surroundings>,
    /// The table of the limits.
    pub(in crate::bench) figures: Vec<Figure>,
    /// By name, as the example prints them.
    pub(super) results: BTreeMap<String, Value>,
}

/// What is read of a record. Its figures follow from its results, and older records have none.
#[derive(Deserialize)]
struct Stored {
    surroundings: Surroundings,
    #[serde(default)]
    cost_surroundings: Option<Surroundings>,
    results: BTreeMap<String, Value>,
}

impl From<Stored> for Record {
    fn from(stored: Stored) -> Self {
        Self {
            cost_surroundings: stored.cost_surroundings,
            ..Self::of(stored.surroundings, stored.results)
        }
    }
}

impl Record {
    /// Of one run.
    pub(super) fn of(surroundings: Surroundings, results: BTreeMap<String, Value>) -> Self {
        Self {
            surroundings,
            cost_surroundings: None,
            figures: figures::all(&results),
            results,
        }
    }

    /// The same simulations, with the costs of a later run.
    pub(super) fn with_costs(&self, on: Surroundings, costs: BTreeMap<String, Value>) -> Self {
        let mut results = self.results.clone();
        let costs = costs.into_iter();
        results.extend(costs.filter(|(name, _)| COSTS.contains(&name.as_str())));
        Self {
            cost_surroundings: Some(on),
            ..Self::of(self.surroundings.clone(), results)
        }
    }
}
