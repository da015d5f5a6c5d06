//! What all looks of a migration have proved so far: the wealth of each bet against the candidate.
//!
//! Invariants: it only ever changes by a [`LedgerChange`], which the journal keeps, so it survives a
//! restart (after the last stage, but for what came since it was last written down); the chances of all
//! its false alarms together, over the whole migration, are at most the plan's significance, however
//! often and for however long it is looked at.
//!
//! How the significance α is divided:
//!
//! | what is judged | share of α |
//! |---|---|
//! | the pool's faults against `critical_error_rate` | 1/8 |
//! | failures of workers against `worker_failure_rate` | 1/8 |
//! | failures against stable's, all programs together | 1/8 |
//! | failures against stable's, the i-th program to appear | 1/8 · 1/(i·(i+1)) |
//! | slow calls against stable's (ranks), overhead and whole calls each | 1/8 · 1/(i·(i+1)) |
//! | median and p99 against stable's (bounds), overhead and whole calls each | 1/16 · 1/(i·(i+1)) · 1/(e·(e+1)) |
//!
//! The shares 1/(i·(i+1)) add up to one however many programs there are, and so do those of e, which
//! counts how often the quantiles were begun anew: by a stage, a person or a restart. The wealth of a
//! bet is never begun anew but by a person, and then what was staked is gone for good. Growth of memory
//! and the host have no part of α: see [`Thresholds`](crate::Thresholds).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sequential::{BETS, Wealth, above, oftener};
use crate::stratum::Stratum;
use crate::thresholds::Thresholds;
use crate::wording;

/// Programs that are judged by themselves; those that appear later, only together with all others.
const PROGRAMS: u32 = 20;

/// What the candidate's latencies are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Overhead,
    Total,
}

/// What all looks so far have proved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// How often the windows were begun anew.
    pub(crate) epoch: u32,
    pool_faults: Wealth,
    workers: Wealth,
    failures: Wealth,
    programs: BTreeMap<String, ProgramLedger>,
}

/// What a look has counted on the candidate since the look before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) calls: u64,
    /// Of these, the pool's.
    pub(crate) faults: u64,
    /// For how many windows its workers ran, all together, and how many failed meanwhile.
    pub(crate) workers: Option<(f64, u64)>,
}

/// The bets on one program.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct ProgramLedger {
    /// The how many-th program it was to appear, from 1.
    place: u32,
    failures: Wealth,
    overhead: Wealth,
    total: Wealth,
}

/// What one look has changed in a [`Ledger`]: the new state of what is not as it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerChange {
    epoch: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool_faults: Option<Wealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workers: Option<Wealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures: Option<Wealth>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    programs: BTreeMap<String, ProgramLedger>,
}

impl Ledger {
    /// What a look changes: comparisons that came to an end, and what was counted on the candidate.
    pub(crate) fn play(
        &self,
        thresholds: &Thresholds,
        epoch: u32,
        strata: &[Stratum],
        counted: Counted,
    ) -> LedgerChange {
        let after = |mut wealth: Wealth, pays: [f64; BETS]| {
            wealth.play(&pays);
            wealth
        };
        let limit = wording::fraction(thresholds.critical_error_rate.limit);
        let pool_faults =
            above(limit, counted.calls, counted.faults).map(|pays| after(self.pool_faults, pays));
        let limit = wording::fraction(thresholds.worker_failure_rate.limit);
        let workers = counted
            .workers
            .and_then(|(windows, failures)| oftener(limit, windows, failures))
            .map(|pays| after(self.workers, pays));
        let mut failures: Option<Wealth> = None;
        let mut programs: BTreeMap<String, ProgramLedger> = BTreeMap::new();
        let mut places = u32::try_from(self.programs.len()).unwrap_or(u32::MAX);
        for stratum in strata {
            if let Some(pays) = &stratum.failures {
                failures.get_or_insert(self.failures).play(pays);
            }
            let mut ledger = match (
                programs.get(&stratum.program),
                self.programs.get(&stratum.program),
            ) {
                (Some(ledger), _) | (None, Some(ledger)) => *ledger,
                (None, None) if places < PROGRAMS => {
                    places += 1;
                    ProgramLedger::appearing(places)
                }
                (None, None) => continue,
            };
            ledger.play(stratum);
            programs.insert(stratum.program.clone(), ledger);
        }
        LedgerChange {
            epoch,
            pool_faults,
            workers,
            failures,
            programs,
        }
    }

    /// After a look.
    pub(crate) fn change(&mut self, change: &LedgerChange) {
        self.epoch = self.epoch.max(change.epoch);
        if let Some(wealth) = change.pool_faults {
            self.pool_faults = wealth;
        }
        if let Some(wealth) = change.workers {
            self.workers = wealth;
        }
        if let Some(wealth) = change.failures {
            self.failures = wealth;
        }
        for (program, ledger) in &change.programs {
            self.programs.insert(program.clone(), *ledger);
        }
    }

    /// A person has looked and goes on: only what comes counts.
    pub(crate) fn begin_anew(&mut self) {
        self.pool_faults.begin_anew();
        self.workers.begin_anew();
        self.failures.begin_anew();
        for ledger in self.programs.values_mut() {
            ledger.failures.begin_anew();
            ledger.overhead.begin_anew();
            ledger.total.begin_anew();
        }
    }

    /// Whether the pool's faults are certain to lie above the critical rate.
    pub(crate) fn pool_faults(&self, alpha: f64) -> bool {
        self.pool_faults.rejects(alpha / 8.0)
    }

    /// Whether workers are certain to fail more often than they may.
    pub(crate) fn workers(&self, alpha: f64) -> bool {
        self.workers.rejects(alpha / 8.0)
    }

    /// Whether it is certain that the candidate fails more often than stable, over all programs or
    /// in one of them, and in which.
    pub(crate) fn failures(&self, alpha: f64) -> Option<Option<&str>> {
        if self.failures.rejects(alpha / 8.0) {
            return Some(None);
        }
        self.programs.iter().find_map(|(program, ledger)| {
            let certain = ledger.failures.rejects(alpha / 8.0 * ledger.share());
            certain.then_some(Some(program.as_str()))
        })
    }

    /// Whether the calls of this program are certain to be slower on the candidate.
    pub(crate) fn slower(&self, program: &str, measure: Measure, alpha: f64) -> bool {
        self.programs.get(program).is_some_and(|ledger| {
            let wealth = match measure {
                Measure::Overhead => ledger.overhead,
                Measure::Total => ledger.total,
            };
            wealth.rejects(alpha / 8.0 * ledger.share())
        })
    }

    /// The level of the bounds of one quantile of this program, in one lane. None for a program
    /// that is not judged by itself.
    pub(crate) fn quantile_level(&self, program: &str, alpha: f64) -> Option<f64> {
        let ledger = self.programs.get(program)?;
        // Two quantiles, two lanes, and a bound of each.
        Some(alpha / 32.0 * ledger.share() * slice(self.epoch.max(1)))
    }
}

impl ProgramLedger {
    fn appearing(place: u32) -> Self {
        let (failures, overhead, total) = Default::default();
        Self {
            place,
            failures,
            overhead,
            total,
        }
    }

    fn play(&mut self, stratum: &Stratum) {
        let [overhead, total] = &stratum.slower;
        for (wealth, pays) in [
            (&mut self.failures, &stratum.failures),
            (&mut self.overhead, overhead),
            (&mut self.total, total),
        ] {
            if let Some(pays) = pays {
                wealth.play(pays);
            }
        }
    }

    fn share(&self) -> f64 {
        slice(self.place)
    }
}

/// The i-th of slices that add up to one, however many there are.
fn slice(i: u32) -> f64 {
    1.0 / (f64::from(i) * (f64::from(i) + 1.0))
}

impl LedgerChange {
    /// Whether a look has taught nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool_faults.is_none()
            && self.workers.is_none()
            && self.failures.is_none()
            && self.programs.is_empty()
    }

    /// Whether it says nothing at all, not even a beginning.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is of a later beginning than any in the ledger.
    pub(crate) fn begins(&self, ledger: &Ledger) -> bool {
        self.epoch > ledger.epoch
    }

    /// After another look.
    pub(crate) fn merge(&mut self, newer: Self) {
        self.epoch = self.epoch.max(newer.epoch);
        self.pool_faults = newer.pool_faults.or(self.pool_faults);
        self.workers = newer.workers.or(self.workers);
        self.failures = newer.failures.or(self.failures);
        self.programs.extend(newer.programs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stratum(program: &str, pays: f64) -> Stratum {
        let pays = [pays; BETS];
        Stratum {
            program: program.into(),
            failures: Some(pays),
            slower: [None, Some(pays)],
        }
    }

    fn counted(calls: u64) -> Counted {
        Counted {
            calls,
            ..Counted::default()
        }
    }

    fn after(ledger: &Ledger, strata: &[Stratum]) -> Ledger {
        let change = ledger.play(&Thresholds::default(), 1, strata, counted(5));
        let text = serde_json::to_string(&change).expect("written");
        let read: LedgerChange = serde_json::from_str(&text).expect("read");
        assert_eq!(read, change, "as the journal has it");
        let mut next = ledger.clone();
        next.change(&change);
        next
    }

    #[test]
    fn one_program_alone_is_told_and_does_not_hide_among_others() {
        let mut ledger = Ledger::default();
        for _ in 0..12 {
            ledger = after(&ledger, &[stratum("qa", 0.4), stratum("essay", 3.0)]);
        }
        assert_eq!(ledger.failures(0.01), Some(Some("essay")));
        assert!(ledger.slower("essay", Measure::Total, 0.01));
        assert!(
            !ledger.slower("essay", Measure::Overhead, 0.01),
            "nothing was seen of it"
        );
        assert!(!ledger.slower("qa", Measure::Total, 0.01));
        assert!(!ledger.pool_faults(0.01));
        ledger.begin_anew();
        assert_eq!(ledger.failures(0.01), None);
    }

    #[test]
    fn programs_beyond_the_twentieth_are_judged_together_only() {
        let strata: Vec<Stratum> = (0..40).map(|i| stratum(&format!("p{i:02}"), 9.0)).collect();
        let mut ledger = Ledger::default();
        for _ in 0..20 {
            ledger = after(&ledger, &strata);
        }
        assert_eq!(ledger.programs.len(), 20);
        assert_eq!(ledger.failures(0.01), Some(None));
        assert_eq!(ledger.quantile_level("p39", 0.01), None);
        let first = ledger.quantile_level("p00", 0.01).expect("judged");
        assert!(first > ledger.quantile_level("p19", 0.01).expect("judged"));
    }

    /// In how many of 200 runs of four hours, looked at every five seconds, four workers that fail at
    /// this many times the rate that they may were ever told.
    fn told(times: f64) -> u64 {
        let thresholds = Thresholds::default();
        let limit = wording::fraction(thresholds.worker_failure_rate.limit);
        // Four workers for five seconds of a window of a minute.
        let windows = 4.0 * 5.0 / 60.0;
        let runs = (0..200).filter(|seed| {
            let mut random = crate::simulation::Random::new(*seed);
            let mut ledger = Ledger::default();
            (0..4 * 720).any(|_| {
                let failures = random.number(times * limit / (1.0 - limit) * windows);
                let counted = Counted {
                    workers: Some((windows, failures)),
                    ..Counted::default()
                };
                ledger.change(&ledger.play(&thresholds, 1, &[], counted));
                // An eighth of 8 % is 1 %.
                ledger.workers(0.08)
            })
        });
        runs.count() as u64
    }

    #[test]
    fn workers_that_fail_as_often_as_they_may_are_told_no_oftener_than_promised() {
        let (at, below, beyond) = (told(1.0), told(0.5), told(4.0));
        // 1 % of 200 is 2.
        assert!(at <= 2 && below <= 2, "{at} {below}");
        assert!(beyond >= 190, "{beyond}");
    }

    #[test]
    fn all_levels_together_are_no_more_than_the_whole() {
        let programs = || (1..=20).map(slice).sum::<f64>();
        let epochs: f64 = (1..1000).map(slice).sum();
        let bets = 0.125 + 0.125 + 0.125 + 0.125 * programs() + 2.0 * 0.125 * programs();
        let bounds = 2.0 * 2.0 * programs() * epochs / 16.0;
        assert!(bets + bounds <= 1.0, "{bets} {bounds}");
    }
}
