//! All that a run of `bench pool` or `bench http` found, as it stands in `bench/results/`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::contenders::Contenders;
use super::figures::{self, Figure};
use super::plot::Bar;
use super::rounds::Samples;
use super::spread::Spread;
use crate::surroundings::Surroundings;

/// Fields of a pool's result that are written down, where it has them.
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
    /// What a run of `bench pool` found.
    pub(super) fn of(
        mut surroundings: Surroundings,
        contenders: &Contenders,
        samples: &Samples,
    ) -> Self {
        for name in samples.contenders() {
            if let (Some(rival), Some(version)) =
                (name.strip_prefix("echo/"), samples.text(name, "version"))
            {
                surroundings
                    .versions
                    .insert(rival.to_owned(), version.to_owned());
            }
        }
        Self {
            surroundings,
            rounds: contenders.amount.rounds,
            figures: figures::all(samples, &contenders.absent),
            measured: samples.spreads(&FIELDS),
            absent: samples.absent(&contenders.absent),
        }
    }

    /// The rates of those that have one, by the names that people know them by.
    pub(super) fn bars<'a>(&self, names: &[(&str, &'a str)]) -> Vec<Bar<'a>> {
        let names = names.iter();
        names
            .filter_map(|(contender, name)| {
                Some(Bar {
                    name,
                    spread: self.spread(contender, "rate")?,
                    ours: name.starts_with("dspex"),
                })
            })
            .collect()
    }

    /// What the rounds gave for a field.
    pub(super) fn spread(&self, contender: &str, field: &str) -> Option<Spread> {
        self.measured.get(contender)?.get(field).copied()
    }
}
