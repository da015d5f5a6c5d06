//! `bench/results/pool.json`: all that a run found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contenders::Contenders;
use super::figures::{self, Figure};
use super::rounds::Samples;
use super::spread::Spread;
use crate::surroundings::Surroundings;

/// Fields of a contender's result that are written down, where it has them.
const FIELDS: [&str; 12] = [
    "rate",
    "p50_us",
    "p99_us",
    "share",
    "cost_us",
    "dispatch_us",
    "lookup_p50_us",
    "warm_ms",
    "ready_ms",
    "lost",
    "client_cpu_us",
    "worker_cpu_us",
];

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) surroundings: Surroundings,
    pub(super) rounds: usize,
    /// The table of the limits.
    pub(super) figures: Vec<Figure>,
    /// By contender, then by field.
    pub(super) measured: BTreeMap<String, BTreeMap<String, Spread>>,
    /// Contenders that could not be measured, with the reason.
    pub(super) absent: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn of(
        mut surroundings: Surroundings,
        contenders: &Contenders,
        samples: &Samples,
    ) -> Self {
        let mut measured = BTreeMap::new();
        for name in samples.contenders() {
            let spreads: BTreeMap<String, Spread> = FIELDS
                .iter()
                .filter_map(|field| {
                    let spread = Spread::of(&samples.numbers(name, field))?;
                    Some(((*field).to_owned(), spread))
                })
                .collect();
            measured.insert(name.to_owned(), spreads);
            if let (Some(rival), Some(version)) =
                (name.strip_prefix("echo/"), samples.text(name, "version"))
            {
                surroundings
                    .versions
                    .insert(rival.to_owned(), version.to_owned());
            }
        }
        let absent = contenders.absent.iter().cloned();
        Self {
            surroundings,
            rounds: contenders.amount.rounds,
            figures: figures::all(samples, &contenders.absent),
            measured,
            absent: absent.chain(samples.failed.clone()).collect(),
        }
    }

    /// The median of a field.
    pub(super) fn spread(&self, contender: &str, field: &str) -> Option<Spread> {
        self.measured.get(contender)?.get(field).copied()
    }
}
