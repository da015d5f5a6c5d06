//! What comparisons came to, program by program.
//!
//! Invariants: what was counted belongs to one candidate and to one version of each program; another
//! one begins at nothing. A call is judged at most once. Bounded: beyond [`PROGRAMS`] programs of one
//! candidate no further one is compared, and none is copied for it; what is left of candidates before
//! makes room.

use std::collections::{BTreeMap, HashMap};

use dspex_pool::{ProgramId, ProgramKey};
use serde::Serialize;
use serde_json::{Map, Value};

use super::case::{Case, Cases};
use super::noise::Noise;
use super::{NoiseConfig, confidence};
use crate::compare::{Difference, Rules, Tier, nothing_left};

/// How many programs are compared at most.
const PROGRAMS: usize = 1_000;

/// How the comparison of one call ended.
#[derive(Debug)]
pub(super) enum Judged {
    /// The two answers say the same.
    Equal,
    /// They do not, and this is where.
    Different(Vec<Difference>),
    /// The copy was not answered, for a reason that says nothing about the answer.
    Failed(String),
    /// The user's comparer did not judge.
    Unjudged(String),
}

/// One program's comparisons.
#[derive(Debug, Default)]
struct Tally {
    version: u64,
    epoch: u64,
    copies: u64,
    compared: u64,
    different: u64,
    hidden: u64,
    learning: u64,
    failed: u64,
    unjudged: u64,
    by_rule: BTreeMap<Tier, u64>,
    noise: Noise,
    trouble: Option<String>,
}

/// One program's comparisons, told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProgramComparison {
    /// Which program.
    pub program: ProgramId,
    /// Which version of it.
    pub version: u64,
    /// Comparisons that count: something was compared that is no noise.
    pub compared: u64,
    /// Those of them that found a difference.
    pub different: u64,
    /// The share that is different, 0 to 1, of these and of those that noise hides, since a wrong form
    /// is found in those too; none where nothing was compared.
    pub rate: Option<f64>,
    /// The share lies above this with 99 % confidence (Wilson).
    pub at_least: f64,
    /// The share lies below this with 99 % confidence (Wilson), by what was compared alone.
    pub at_most: f64,
    /// Comparisons in which noise left nothing to compare: neither equal nor different, whatever the
    /// answers said. A comparer of the user's own judges such a program.
    pub hidden_by_noise: u64,
    /// Copies made while too little was known of stable's noise: not judged.
    pub learning: u64,
    /// Copies that were not answered: the pool's fault, the provider's, or time.
    pub failed: u64,
    /// Comparisons that the user's comparer did not judge.
    pub unjudged: u64,
    /// Differing comparisons by the rules that found them; one may be found by several.
    pub by_rule: BTreeMap<Tier, u64>,
    /// How often stable was compared with itself.
    pub noise_samples: u64,
    /// How often the user's comparer judged two answers of stable itself.
    pub comparer_controls: u64,
    /// How often it told those apart: so often a candidate that is just like stable differs too.
    pub comparer_controls_different: u64,
    /// Where stable differs from itself, so that a difference there says nothing.
    pub noise: Vec<String>,
    /// What last went wrong, where something did.
    pub trouble: Option<String>,
}

/// Everything that is known of comparisons.
#[derive(Debug, Default)]
pub(super) struct Record {
    programs: HashMap<ProgramId, Tally>,
    pub(super) cases: Cases,
    epoch: u64,
    /// The first candidate that is held against the pool that is stable now.
    stable_since: u64,
}

impl Record {
    /// Another candidate: what was counted says nothing of it. What is known of stable stays.
    pub(super) fn begin_anew(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.cases.clear();
    }

    /// Another pool is stable: what is known of the one before says nothing to candidates that come
    /// from now on.
    pub(super) fn stable_is_another(&mut self) {
        self.stable_since = self.epoch + 1;
    }

    /// Whether a comparison of this program would be counted.
    pub(super) fn has_place(&self, program: &ProgramKey) -> bool {
        self.programs.len() < PROGRAMS
            || self.programs.contains_key(&program.id)
            || self
                .programs
                .values()
                .any(|tally| tally.epoch != self.epoch)
    }

    /// The tally of this version of a program for this candidate; none where there are too many.
    fn tally(&mut self, program: &ProgramKey) -> Option<&mut Tally> {
        let (epoch, stable_since) = (self.epoch, self.stable_since);
        if self.programs.len() >= PROGRAMS && !self.programs.contains_key(&program.id) {
            // What was learnt of stable for a candidate that is gone is the least to lose.
            let others = self.programs.iter().filter(|(_, of)| of.epoch != epoch);
            let oldest = others.min_by_key(|(_, of)| of.epoch)?.0.clone();
            self.programs.remove(&oldest);
        }
        let tally = self.programs.entry(program.id.clone()).or_default();
        if tally.version != program.version {
            *tally = Tally {
                version: program.version,
                epoch,
                ..Tally::default()
            };
        } else if tally.epoch != epoch {
            let of_this_stable = tally.epoch >= stable_since;
            let noise = of_this_stable.then(|| std::mem::take(&mut tally.noise));
            *tally = Tally {
                version: program.version,
                epoch,
                noise: noise.unwrap_or_default(),
                ..Tally::default()
            };
        }
        Some(tally)
    }

    /// Whether the copy that is to be made now is to be made on stable too.
    pub(super) fn wants_control(&mut self, program: &ProgramKey, config: NoiseConfig) -> bool {
        self.tally(program).is_some_and(|tally| {
            tally.copies += 1;
            tally.noise.wants(config, tally.copies)
        })
    }

    /// Stable was compared with itself; `judged` is whether the user's comparer, where it was asked, took
    /// the two answers for equal.
    pub(super) fn learn(
        &mut self,
        program: &ProgramKey,
        differences: &[Difference],
        judged: Option<bool>,
    ) {
        if let Some(tally) = self.tally(program) {
            tally.noise.learn(differences);
            if let Some(equal) = judged {
                tally.noise.judge(equal);
            }
        }
    }

    /// The differences that are no noise; also whether there are none because noise left nothing of
    /// stable's answer to compare.
    pub(super) fn beyond_noise(
        &mut self,
        program: &ProgramKey,
        differences: Vec<Difference>,
        config: NoiseConfig,
        rules: &Rules,
        stable: &Map<String, Value>,
    ) -> (Vec<Difference>, bool) {
        let Some(tally) = self.tally(program) else {
            return (differences, false);
        };
        let covered = |difference: &Difference| tally.noise.covers(difference, config.floor);
        let beyond: Vec<_> = differences
            .into_iter()
            .filter(|one| !covered(one))
            .collect();
        let hides = |place: &str, rule| tally.noise.hides(place, rule, config.floor);
        let hidden = beyond.is_empty() && nothing_left(rules, stable, hides);
        (beyond, hidden)
    }

    /// Counts a comparison. `case` is made where it is one; `hidden` says that noise left nothing to
    /// compare.
    pub(super) fn count(
        &mut self,
        program: &ProgramKey,
        judged: Judged,
        hidden: bool,
        config: NoiseConfig,
        max_cases: usize,
        case: impl FnOnce(Vec<Difference>) -> Case,
    ) {
        let Some(tally) = self.tally(program) else {
            return;
        };
        match judged {
            Judged::Failed(why) => {
                tally.failed += 1;
                tally.trouble = Some(why);
            }
            Judged::Unjudged(why) => {
                tally.unjudged += 1;
                tally.trouble = Some(why);
            }
            // A failure is no matter of words that change from call to call.
            Judged::Different(ref found)
                if tally.noise.learning(config)
                    && found.iter().all(|one| one.rule != Tier::Failure) =>
            {
                tally.learning += 1;
            }
            Judged::Equal if tally.noise.learning(config) => tally.learning += 1,
            Judged::Equal if hidden => tally.hidden += 1,
            Judged::Equal => tally.compared += 1,
            Judged::Different(found) => {
                tally.compared += 1;
                tally.different += 1;
                let mut rules: Vec<Tier> = found.iter().map(|one| one.rule).collect();
                rules.dedup();
                for rule in rules {
                    *tally.by_rule.entry(rule).or_default() += 1;
                }
                self.cases.keep(case(found), max_cases);
            }
        }
    }

    /// Every program that was compared for this candidate, by name.
    pub(super) fn told(&self, config: NoiseConfig) -> Vec<ProgramComparison> {
        let current = self.programs.iter();
        let mut told: Vec<_> = current
            .filter(|(_, tally)| tally.epoch == self.epoch)
            .map(|(program, tally)| {
                let all = tally.compared + tally.hidden;
                let (at_least, _) = confidence::interval(tally.different, all);
                let (_, at_most) = confidence::interval(tally.different, tally.compared);
                let all = if tally.compared == 0 { 0 } else { all };
                ProgramComparison {
                    program: program.clone(),
                    version: tally.version,
                    compared: tally.compared,
                    different: tally.different,
                    rate: confidence::share(tally.different, all),
                    at_least,
                    at_most,
                    hidden_by_noise: tally.hidden,
                    learning: tally.learning,
                    failed: tally.failed,
                    unjudged: tally.unjudged,
                    by_rule: tally.by_rule.clone(),
                    noise_samples: tally.noise.seen,
                    comparer_controls: tally.noise.judged,
                    comparer_controls_different: tally.noise.told_apart,
                    noise: tally.noise.places(config.floor),
                    trouble: tally.trouble.clone(),
                }
            })
            .collect();
        told.sort_by(|a, b| a.program.cmp(&b.program));
        told
    }

    /// A program is gone, and its callers' data with it.
    pub(super) fn forget(&mut self, program: &ProgramId) {
        self.programs.remove(program);
        self.cases.forget(program);
    }
}
