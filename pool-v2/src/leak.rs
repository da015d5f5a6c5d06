//! Whether a worker's memory grows, how fast at the least, and with which program's calls.
//!
//! Invariants: unknown is not flat: too few samples, too short a span or a gap in them answer
//! nothing at all, and "no growth" is only said of what was measured. Memory is bounded: a worker
//! has at most [`KEPT`] samples, with the calls of at most [`NAMED`] programs. Nothing here reads a
//! clock or `/proc`.
//!
//! Read on in `slope` (which statistic, and why none of the usual ones) and `blame` (which
//! program).

mod blame;
mod slope;
mod student;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use dspex_pool::Growth;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::InvalidConfig;

/// Samples kept of a worker: three hours at the default pace.
const KEPT: usize = 360;

/// Programs whose calls are counted by name. Those that a worker meets later are counted together,
/// and never named.
const NAMED: usize = 16;

/// Growth is measured against the worker's memory, but against no less than this many bytes. A
/// forked worker has a few megabytes of its own; one cache that fills is a large share of them, and
/// no leak that anybody would roll back for.
const SMALLEST_BASE: u64 = 32 << 20;

/// How growth is looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeakConfig {
    /// How often a worker's memory is measured. 360 measurements are kept.
    #[serde(with = "humantime_serde")]
    pub sample_every: Duration,
    /// How long a worker's memory does not count after its start: imports, and caches that fill.
    #[serde(with = "humantime_serde")]
    pub warm_up: Duration,
    /// How many calls a worker must have answered before its memory counts, beside `warm_up`.
    pub warm_up_calls: u64,
    /// How long a stretch of measurements must be before anything is said.
    #[serde(with = "humantime_serde")]
    pub minimum_span: Duration,
}

impl Default for LeakConfig {
    fn default() -> Self {
        Self {
            sample_every: Duration::from_secs(30),
            warm_up: Duration::from_secs(10 * 60),
            warm_up_calls: 20,
            minimum_span: Duration::from_secs(30 * 60),
        }
    }
}

impl LeakConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let refused = |setting, value: Duration, expected| {
            Err(InvalidConfig {
                setting,
                value: format!("{value:?}"),
                expected,
            })
        };
        if self.sample_every < Duration::from_secs(1) {
            let expected = "use at least 1s: a measurement costs the kernel a walk over the memory";
            return refused("leak.sample_every", self.sample_every, expected);
        }
        let kept = self.sample_every * u32::try_from(KEPT - 1).unwrap_or(u32::MAX);
        if self.minimum_span > kept {
            let expected = "use at most 359 times sample_every, which is all that is kept";
            return refused("leak.minimum_span", self.minimum_span, expected);
        }
        if self.minimum_span < self.sample_every * slope::FEWEST {
            let expected = "use at least 48 times sample_every, so that there is enough to judge";
            return refused("leak.minimum_span", self.minimum_span, expected);
        }
        Ok(())
    }
}

/// One measurement, with what the worker did since the one before.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    bytes: u64,
    /// Calls since the sample before: one entry for each name in [`MemorySeries::programs`] at that
    /// time, after one for all that have no name.
    calls: Vec<u32>,
}

/// The memory of one worker, over its latest hours.
#[derive(Debug)]
pub(crate) struct MemorySeries {
    worker: String,
    started: Instant,
    samples: VecDeque<Sample>,
    /// The last measurement was made then, whether it counts or not.
    measured: Option<Instant>,
    /// Programs by name, with their calls so far at the last measurement.
    programs: Vec<(String, u64)>,
    /// Calls so far of all others.
    others: u64,
}

impl MemorySeries {
    /// Of the worker with that id, which was started at that moment.
    pub(crate) fn new(worker: impl Into<String>, started: Instant) -> Self {
        Self {
            worker: worker.into(),
            started,
            samples: VecDeque::new(),
            measured: None,
            programs: Vec::new(),
            others: 0,
        }
    }

    /// Whether it is time to measure again.
    pub(crate) fn is_due(&self, config: &LeakConfig, now: Instant) -> bool {
        self.measured
            .is_none_or(|last| now.saturating_duration_since(last) >= config.sample_every)
    }

    /// Takes a measurement: the worker's own memory in bytes (PSS), and the calls that each program
    /// has had in it since the worker started. A measurement that is not due is left out.
    pub(crate) fn record<'a>(
        &mut self,
        config: &LeakConfig,
        now: Instant,
        bytes: u64,
        calls: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        if !self.is_due(config, now) {
            return;
        }
        self.measured = Some(now);
        let (since, total) = self.count(calls);
        let warm = now.saturating_duration_since(self.started) >= config.warm_up
            && total >= config.warm_up_calls;
        // What is measured first counts from the warm-up on, so that nothing before it can be taken
        // for growth.
        if !warm {
            return;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at: now,
            bytes,
            calls: since,
        });
    }

    /// How fast the memory grows. None while that cannot be told.
    ///
    /// `watched` is how many workers are asked at the same time. Whoever looks for the worst of
    /// eight finds what is true of one in a hundred eight times as often, so each is held to one in
    /// eight hundred.
    pub(crate) fn growth(&self, config: &LeakConfig, watched: usize) -> Option<Growth> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = last.at.saturating_duration_since(first.at);
        if span < config.minimum_span {
            return None;
        }
        let points: Vec<(f64, f64)> = self
            .samples
            .iter()
            .map(|sample| {
                let since = sample.at.saturating_duration_since(first.at);
                (since.as_secs_f64() / 3600.0, float(sample.bytes))
            })
            .collect();
        let doubt = 0.01 / float(watched.max(1) as u64);
        let slope = slope::of(&points, doubt)?;
        let base = slope.base.max(float(SMALLEST_BASE));
        let program = (slope.at_least > 0.0)
            .then(|| self.blamed())
            .flatten()
            .map(|index| self.programs[index].0.clone());
        Some(Growth {
            worker: self.worker.clone(),
            program,
            per_hour: slope.per_hour / base,
            at_least: slope.at_least / base,
            samples: self.samples.len() as u64,
            span,
        })
    }

    /// The program with whose calls the memory grows, as an index.
    fn blamed(&self) -> Option<usize> {
        let width = self.programs.len() + 1;
        let memory: Vec<f64> = self.samples.iter().map(|s| float(s.bytes)).collect();
        let calls: Vec<Vec<f64>> = self
            .samples
            .iter()
            .map(|sample| {
                let mut row: Vec<f64> = sample.calls.iter().map(|n| f64::from(*n)).collect();
                row.resize(width, 0.0);
                row
            })
            .collect();
        // The first column is of all that have no name: it may explain growth, and is not blamed.
        blame::culprit(&memory, &calls).and_then(|column| column.checked_sub(1))
    }

    /// Calls since the measurement before by column, and all calls so far.
    fn count<'a>(&mut self, calls: impl IntoIterator<Item = (&'a str, u64)>) -> (Vec<u32>, u64) {
        let mut since = vec![0_u32; self.programs.len() + 1];
        let (mut total, mut others) = (0_u64, 0_u64);
        for (program, so_far) in calls {
            total = total.saturating_add(so_far);
            let known = self.programs.iter().position(|(name, _)| name == program);
            if let Some(index) = known {
                let before = std::mem::replace(&mut self.programs[index].1, so_far);
                since[index + 1] = narrow(so_far.saturating_sub(before));
            } else if self.programs.len() < NAMED {
                self.programs.push((program.to_owned(), so_far));
                since.push(narrow(so_far));
            } else {
                others = others.saturating_add(so_far);
            }
        }
        since[0] = narrow(others.saturating_sub(self.others));
        self.others = others;
        (since, total)
    }
}

/// The worst of many: the one that grows fastest for certain.
pub(crate) fn worst(all: impl IntoIterator<Item = Growth>) -> Option<Growth> {
    all.into_iter()
        .max_by(|a, b| a.at_least.total_cmp(&b.at_least))
}

fn narrow(calls: u64) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes and calls, far below 2^52"
)]
fn float(number: u64) -> f64 {
    number as f64
}
