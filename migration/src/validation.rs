//! The validation suite: whether a candidate does what stable does, as fast, and as hard to break.
//!
//! Read in this order: `settings` (how much is tried, and what counts as worse), `rehearsal` (the two
//! pools), `probe` (the programs whose answers are known), `functional`, `performance`, `recovery`, and
//! `report` (what comes out).
//!
//! Invariants:
//! - Pools that serve callers are never touched: the suite is given two of its own, started from the same
//!   two configurations, and whatever happens, cancellation included, nothing is left of them.
//! - What was not measured is not passed. A full validation does not pass a comparison that stayed
//!   undecided either.

mod confidence;
mod equal;
mod functional;
mod load;
mod performance;
mod probe;
mod recovery;
mod rehearsal;
mod report;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use dspex_pool::Program;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::functional::Asked;
pub use self::probe::MODULE as PROBE_MODULE;
use self::probe::Probe;
pub use self::rehearsal::Factory;
use self::rehearsal::{NoPair, Pair};
pub use self::report::{
    Area, Finding, LoadFigures, Performance, Progress, Recoveries, ValidationReport,
};
pub use self::settings::{Case, Extent, InvalidValidation, Load, ValidationSettings};
use self::trial::Trial;

/// Told of everything as it happens.
pub type Listener<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// Everything that one validation needs.
pub struct Suite {
    /// How much is tried.
    pub extent: Extent,
    /// What counts as worse.
    pub settings: ValidationSettings,
    /// The pool that stable's rehearsal pool is a copy of, and how to start the copy.
    pub stable: (String, Factory),
    /// The same of the candidate's.
    pub candidate: (String, Factory),
    /// The catalog.
    pub programs: Vec<Arc<Program>>,
    /// The names of the LM profiles.
    pub lms: Vec<String>,
    /// Where the pools are started and ended.
    pub tracker: TaskTracker,
}

impl Suite {
    /// Runs it. May be cut off at any moment by dropping the future.
    pub async fn run(self, listener: &Listener<'_>) -> ValidationReport {
        let began = Instant::now();
        let mut trial = Trial::new(listener);
        let (stable, start_stable) = self.stable;
        let (candidate, start_candidate) = self.candidate;
        let mut performance = None;
        let mut recoveries = Vec::new();
        trial.begins("starting the rehearsal pools");
        match Pair::start(start_stable, start_candidate, &self.tracker).await {
            Err(no_pair) => not_started(no_pair, &stable, &candidate, &mut trial),
            Ok(pair) => {
                for (whose, name, pool) in [
                    ("stable", &stable, &pair.stable),
                    ("the candidate", &candidate, &pair.candidate),
                ] {
                    let status = pool.status();
                    let value = format!("{name}, {} of {} workers", status.ready, status.size);
                    trial.found(started(whose, status.ready >= status.size.max(1), value));
                }
                match Probe::new() {
                    Err(why) => trial.found(Finding::new(
                        Area::Functional,
                        "the probe's programs can be named",
                        false,
                        why,
                        "valid definitions",
                    )),
                    Ok(probe) => {
                        let asked = Asked {
                            probe: &probe,
                            settings: &self.settings,
                            programs: &self.programs,
                            lms: &self.lms,
                        };
                        let (settings, extent) = (&self.settings, self.extent);
                        if functional::probe_builds(&pair, &asked, &mut trial).await {
                            functional::functional(&pair, &asked, &mut trial).await;
                            performance = Some(
                                performance::performance(
                                    &pair, &probe, settings, extent, &mut trial,
                                )
                                .await,
                            );
                            recoveries =
                                recovery::recovery(&pair, &probe, settings, extent, &mut trial)
                                    .await;
                        }
                    }
                }
                pair.end().await;
            }
        }
        let findings = trial.into_findings();
        ValidationReport {
            extent: self.extent,
            stable,
            candidate,
            passed: findings.iter().all(|finding| finding.check.ok),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            findings,
            performance,
            recoveries,
        }
    }
}

fn started(whose: &str, ok: bool, value: String) -> Finding {
    let name = format!("a copy of {whose} starts");
    Finding::new(Area::Rehearsal, name, ok, value, "every worker ready")
}

fn not_started(no_pair: NoPair, stable: &str, candidate: &str, trial: &mut Trial<'_>) {
    for (whose, name, failed) in [
        ("stable", stable, no_pair.stable),
        ("the candidate", candidate, no_pair.candidate),
    ] {
        if let Some(why) = failed {
            trial.found(started(whose, false, format!("{name}: {why}")).hint(Some(
                "`dspex doctor` looks at its interpreter; the workers' own words are in the server's log",
            )));
        }
    }
}
