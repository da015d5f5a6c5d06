//! Samples added up: the windows that are judged, and the comparisons that have become ripe.
//!
//! Invariants: pure. A window holds whole samples, the newest at least, and never one from before it
//! was begun anew. Each call is part of one comparison at most. Memory is bounded: older samples are
//! put together, and what is older than the plan's limit is dropped, but for the sums of the stage.

use std::collections::{BTreeMap, VecDeque};

use dspex_flags::Percent;
use dspex_telemetry::{Blame, LaneWindow, ProgramWindow};

use crate::analysis::number;
use crate::evidence::{Evidence, Programs};
use crate::ledger::{Counted, Ledger, LedgerChange};
use crate::plan::Plan;
use crate::sample::Sample;
use crate::stratum::Stratum;

/// For so many windows workers run before it is told, where nobody calls and none fails.
const IDLE_WINDOWS: f64 = 30.0;

/// The samples of a stage so far.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    /// The newest last.
    pieces: VecDeque<Piece>,
    /// All calls since the stage began.
    stage: Programs,
    /// Calls that wait for company to be compared with, and for how many seconds they have.
    open: BTreeMap<String, ([ProgramWindow; 2], f64)>,
    /// Seconds since the stage began.
    age: f64,
    /// How many workers of the candidate had failed, and at what age.
    failures: VecDeque<(f64, u64)>,
    /// For how many windows they ran since the ledger was told.
    ran: f64,
}

#[derive(Debug, Clone, Default)]
struct Piece {
    lanes: [LaneWindow; 2],
    seconds: f64,
}

/// What a sample comes to.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What there is to judge, the ledger after this look included.
    pub evidence: Evidence,
    /// What the look has changed in the ledger.
    pub change: LedgerChange,
}

impl Windows {
    /// Adds one sample, and answers what there is to judge after it. `ledger` is the one before it,
    /// and `epoch` counts how often the windows were begun anew.
    pub fn add(&mut self, plan: &Plan, ledger: &Ledger, epoch: u32, sample: &Sample) -> Judged {
        let seconds = sample.lanes[1].seconds;
        self.age += seconds;
        let strata = if sample.counts {
            self.compare(plan, sample, seconds)
        } else {
            Vec::new()
        };
        let candidate = &sample.lanes[1];
        let mut counted = Counted {
            workers: self.workers(plan, sample, seconds),
            ..Counted::default()
        };
        if sample.counts {
            counted.calls = candidate.calls;
            counted.faults = candidate.errors_of(Blame::Pool);
        }
        self.keep(plan, sample, seconds);
        let change = ledger.play(&plan.thresholds, epoch, &strata, counted);
        let mut ledger = ledger.clone();
        ledger.change(&change);
        let evidence = self.evidence(plan, ledger, sample);
        Judged { evidence, change }
    }

    /// Closes the comparisons that are ripe.
    fn compare(&mut self, plan: &Plan, sample: &Sample, seconds: f64) -> Vec<Stratum> {
        // Calls that waited in vain for the other lane are of another time by now.
        let limit = plan.window_limit.as_secs_f64();
        self.open.retain(|_, (_, waited)| {
            *waited += seconds;
            *waited <= limit
        });
        for (lane, window) in sample.lanes.iter().enumerate() {
            for (program, calls) in &window.programs {
                match self.open.get_mut(program) {
                    Some((lanes, _)) => lanes[lane].merge(calls),
                    None => {
                        let mut lanes = <[ProgramWindow; 2]>::default();
                        lanes[lane] = calls.clone();
                        self.open.insert(program.clone(), (lanes, 0.0));
                    }
                }
                let stage = self.stage.entry(program.clone()).or_default();
                stage[lane].merge(calls);
            }
        }
        let mut strata = Vec::new();
        self.open.retain(|program, (lanes, _)| {
            let ripe = Stratum::is_ripe(lanes);
            if ripe {
                strata.push(Stratum::of(program, lanes));
            }
            !ripe
        });
        strata
    }

    /// For how many windows the candidate's workers ran since it was told last, and how many failed. Told
    /// with the calls, else at a failure or once many windows are full: what is told is written to the
    /// journal, which an idle night should not fill.
    fn workers(&mut self, plan: &Plan, sample: &Sample, seconds: f64) -> Option<(f64, u64)> {
        let pool = sample.candidate_pool.as_ref()?;
        // What failed before the first look is no business of this stage, nor is the time until then.
        let (_, before) = *self.failures.back()?;
        // A pool that was brought up anew counts from zero again.
        let failed = pool.failures.checked_sub(before).unwrap_or(pool.failures);
        // Each one that failed was one more that ran.
        let ran = u64::try_from(pool.size)
            .unwrap_or(u64::MAX)
            .saturating_add(failed);
        let window = plan.window.as_secs_f64();
        self.ran += number(ran) * seconds / window;
        let full = self.ran >= number(ran) * IDLE_WINDOWS;
        let told = failed > 0 || sample.lanes[1].calls > 0 || full;
        told.then(|| (std::mem::take(&mut self.ran), failed))
    }

    /// Puts the sample to the others, and drops what is too old for any window.
    fn keep(&mut self, plan: &Plan, sample: &Sample, seconds: f64) {
        let failures = sample
            .candidate_pool
            .as_ref()
            .map_or(0, |pool| pool.failures);
        self.count_failures(failures, plan.window_limit.as_secs_f64());
        // Looks that a command or an act has caused come in between: they are no windows of their own.
        let shortest = plan.interval.as_secs_f64() * 0.9;
        match self.pieces.back_mut() {
            Some(last) if last.seconds < shortest => last.add(&sample.lanes, seconds),
            _ => self.pieces.push_back(Piece {
                lanes: sample.lanes.clone(),
                seconds,
            }),
        }
        self.put_together(plan.window.as_secs_f64());
        let limit = plan.window_limit.as_secs_f64();
        let mut all: f64 = self.pieces.iter().map(|piece| piece.seconds).sum();
        while self.pieces.len() > 1 && all - self.pieces[0].seconds >= limit {
            all -= self.pieces.pop_front().map_or(0.0, |piece| piece.seconds);
        }
    }

    /// Pieces older than the shortest window are put together up to its length.
    fn put_together(&mut self, window: f64) {
        let mut newer = 0.0;
        let recent = self.pieces.iter().rev().take_while(|piece| {
            newer += piece.seconds;
            newer <= window
        });
        let Some(old) = self.pieces.len().checked_sub(recent.count() + 1) else {
            return;
        };
        // Only the newest of the old ones has not been tried before.
        if old == 0 || self.pieces[old - 1].seconds + self.pieces[old].seconds > window {
            return;
        }
        if let Some(piece) = self.pieces.remove(old) {
            self.pieces[old - 1].add(&piece.lanes, piece.seconds);
        }
    }

    fn count_failures(&mut self, total: u64, limit: f64) {
        // A pool that was brought up anew counts from zero again.
        if self
            .failures
            .back()
            .is_some_and(|(_, before)| *before > total)
        {
            self.failures.clear();
            self.failures.push_back((self.age, 0));
        }
        // What failed before the first look of the stage is no business of it.
        self.failures.push_back((self.age, total));
        let age = self.age;
        while self
            .failures
            .get(1)
            .is_some_and(|(at, _)| *at + limit < age)
        {
            self.failures.pop_front();
        }
    }

    fn failed_within(&self, seconds: f64) -> u64 {
        let Some((_, total)) = self.failures.back().copied() else {
            return 0;
        };
        let since = self.age - seconds;
        let before = self.failures.iter().rev().find(|(at, _)| *at <= since);
        let base = before
            .or(self.failures.front())
            .map_or(total, |(_, failures)| *failures);
        total.saturating_sub(base)
    }

    fn evidence(&self, plan: &Plan, ledger: Ledger, sample: &Sample) -> Evidence {
        let enough = plan.thresholds.minimum_samples;
        let needs_stable = sample.percent < Percent::HUNDRED;
        let (window, limit) = (plan.window.as_secs_f64(), plan.window_limit.as_secs_f64());
        // The shortest window that holds samples enough; older calls program by program only.
        let (mut short, mut recent, mut reach) = (Piece::default(), Programs::new(), 0.0);
        let mut is_short = true;
        for piece in self.pieces.iter().rev() {
            let seconds = reach + piece.seconds;
            // Half a second, because looks are never exactly an interval apart.
            if reach > 0.0 && seconds > limit + 0.5 {
                break;
            }
            let [stable, candidate] = &short.lanes;
            let full = candidate.calls >= enough && (stable.calls >= enough || !needs_stable);
            is_short &= reach == 0.0 || !full || seconds <= window + 0.5;
            if is_short {
                short.add(&piece.lanes, piece.seconds);
            } else {
                add_programs(&mut recent, &piece.lanes);
            }
            reach = seconds;
        }
        add_programs(&mut recent, &short.lanes);
        let Piece {
            lanes: [stable, candidate],
            seconds,
        } = short;
        Evidence {
            stable,
            candidate,
            recent,
            stage: self.stage.clone(),
            ledger,
            worker_failures: self.failed_within(seconds),
            candidate_pool: sample.candidate_pool.clone(),
            stable_growth: sample.stable_growth.clone(),
            differences: sample.differences.clone(),
            host: sample.host,
            recorded: sample.recorded,
            percent: sample.percent,
        }
    }
}

/// Adds the calls of both lanes, program by program.
fn add_programs(programs: &mut Programs, lanes: &[LaneWindow; 2]) {
    for (lane, window) in lanes.iter().enumerate() {
        for (program, calls) in &window.programs {
            match programs.get_mut(program) {
                Some(sum) => sum[lane].merge(calls),
                None => {
                    let mut sum = <[ProgramWindow; 2]>::default();
                    sum[lane] = calls.clone();
                    programs.insert(program.clone(), sum);
                }
            }
        }
    }
}

impl Piece {
    fn add(&mut self, lanes: &[LaneWindow; 2], seconds: f64) {
        for (ours, theirs) in self.lanes.iter_mut().zip(lanes) {
            ours.merge(theirs);
        }
        self.seconds += seconds;
    }
}

#[cfg(test)]
mod tests;
