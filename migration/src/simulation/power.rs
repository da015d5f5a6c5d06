//! How many calls it takes to see a difference: found by trying, with the very judgement of a run.

use std::time::Duration;

use dspex_flags::Percent;
use serde::Serialize;

use super::{Difference, Load, stage};
use crate::plan::Plan;

/// Calls after which a run gives up.
const MOST_CALLS: u64 = 200_000;

/// What it takes in one stage to see a difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Power {
    /// Which stage, from 0.
    pub stage: usize,
    /// Its share.
    pub percent: Percent,
    /// How long it must be seen healthy.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub hold: Duration,
    /// The share of runs, 0 to 1, in which the difference is told before the hold is over.
    pub within_hold: f64,
    /// The share of runs in which it is told at all, within four times the hold.
    pub told: f64,
    /// What it takes in half of the runs, and in nearly all (95 %); none where it takes longer.
    pub half: Option<Needed>,
    /// In nearly all.
    pub most: Option<Needed>,
}

/// What a run needed until the difference was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Needed {
    /// How long, from the stage's beginning.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub time: Duration,
    /// Calls on the candidate.
    pub candidate: u64,
    /// Calls on stable.
    pub stable: u64,
}

/// Tries each stage of a plan that has something to compare with, `runs` times, at this load.
#[must_use]
pub fn power(plan: &Plan, load: &Load, difference: &Difference, runs: u64) -> Vec<Power> {
    // A load that is looked at for an hour is the hour's and not the day's.
    let load = Load {
        swing: 0.0,
        ..load.clone()
    };
    let compared = plan.stages.iter().enumerate();
    let compared = compared.filter(|(_, stage)| stage.percent < Percent::HUNDRED);
    compared
        .map(|(place, of)| {
            let limits = ((of.hold * 4).max(plan.interval * 4), MOST_CALLS);
            let mut needed: Vec<Needed> = (0..runs.max(1))
                .filter_map(|seed| stage(plan, place, &load, difference, seed, limits))
                .map(|told| Needed {
                    time: told.after,
                    candidate: told.calls.1,
                    stable: told.calls.0,
                })
                .collect();
            needed.sort();
            let all = runs.max(1);
            let share =
                |count: usize| crate::analysis::number(count as u64) / crate::analysis::number(all);
            // The run by which so many in a hundred have seen it.
            let by = |percent: u64| {
                let run = (all * percent).div_ceil(100).max(1) - 1;
                needed
                    .get(usize::try_from(run).unwrap_or(usize::MAX))
                    .copied()
            };
            Power {
                stage: place,
                percent: of.percent,
                hold: of.hold,
                within_hold: share(
                    needed
                        .iter()
                        .filter(|needed| needed.time <= of.hold)
                        .count(),
                ),
                told: share(needed.len()),
                half: by(50),
                most: by(95),
            }
        })
        .collect()
}
