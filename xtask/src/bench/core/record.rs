//! `bench/results/core.json`: all that a run found.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::super::figures::Figure;
use super::super::spread::Spread;
use super::figures;
use super::rounds::Samples;
use crate::places::Places;
use crate::surroundings::Surroundings;

/// Crates that are measured beside ours, and the one that measures.
const RIVALS: [&str; 6] = [
    "criterion",
    "failsafe",
    "open-feature",
    "recloser",
    "tower-resilience-circuitbreaker",
    "unleash-api-client",
];

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) surroundings: Surroundings,
    pub(super) rounds: usize,
    /// The table of the limits.
    pub(super) figures: Vec<Figure>,
    /// Every benchmark, in nanoseconds.
    pub(super) nanos: BTreeMap<String, Spread>,
    /// Every benchmark that counts them: allocations a call.
    pub(super) allocations: BTreeMap<String, Spread>,
}

impl Record {
    pub(super) fn of(surroundings: Surroundings, samples: &Samples) -> Self {
        let spreads = |all: &BTreeMap<String, Vec<f64>>| {
            all.iter()
                .filter_map(|(name, values)| Some((name.clone(), Spread::of(values)?)))
                .collect()
        };
        Self {
            surroundings,
            rounds: samples.rounds,
            figures: figures::all(samples),
            nanos: spreads(&samples.nanos),
            allocations: spreads(&samples.allocations),
        }
    }

    /// What was checked in.
    pub(super) fn read(places: &Places) -> Result<Self> {
        let path = path(places);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no earlier result to compare with in {}",
                path.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a result of this program", path.display()))
    }

    pub(super) fn write(&self, places: &Places) -> Result<()> {
        let path = path(places);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The versions of the rivals, as the lock file has them.
pub(super) fn rivals(places: &Places) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let path = places.root.join("Cargo.lock");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lock: Lock =
        toml::from_str(&text).with_context(|| format!("{} is not a lock file", path.display()))?;
    let rivals = lock
        .package
        .into_iter()
        .filter(|package| RIVALS.contains(&package.name.as_str()))
        .map(|package| (package.name, package.version));
    Ok(rivals.collect())
}

fn path(places: &Places) -> PathBuf {
    places.root.join("bench/results/core.json")
}
