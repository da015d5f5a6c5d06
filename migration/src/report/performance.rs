//! Both lanes, stage by stage.
//!
//! Invariant: calls are counted exactly. Shares and latencies are what the looks saw in their windows,
//! which overlap: so they are given as the middle and the worst of the looks, and never summed.

use std::time::Duration;

use serde::Serialize;

use super::reading::{Look, Reading, between};
use crate::analysis::{LaneSeen, Verdict};

/// Both lanes over the whole rollout, and in each stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Performance {
    /// One for each stage that was entered.
    pub stages: Vec<StageFigures>,
    /// Looks at which both lanes had enough calls to be compared.
    pub compared: u64,
    /// The candidate's median latency over stable's, the middle of these looks; 1.0 is the same.
    pub p50_ratio: Option<f64>,
    /// The same of the 99th percentile.
    pub p99_ratio: Option<f64>,
    /// The entries of these looks: the first and the last.
    pub evidence: Vec<u64>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFigures {
    /// Which, from 1.
    pub number: usize,
    /// The share that was asked for, in percent.
    pub percent: f64,
    /// The candidate's share of the calls that were counted, in percent.
    pub measured_percent: Option<f64>,
    /// How long it was to be seen healthy, in seconds.
    pub hold_s: f64,
    /// How long it was, in seconds.
    pub healthy_s: f64,
    /// How long it took by the clock, in seconds.
    pub took_s: f64,
    /// Looks in it.
    pub looks: u64,
    /// Looks that were healthy.
    pub healthy_looks: u64,
    /// Looks that lacked calls.
    pub inconclusive_looks: u64,
    /// Stable.
    pub stable: LaneFigures,
    /// The candidate.
    pub candidate: LaneFigures,
}

/// One lane in one stage. Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LaneFigures {
    /// Calls, exactly.
    pub calls: u64,
    /// The share of calls that failed but for the caller's own faults, at the middle look, in percent.
    pub failed_percent: Option<f64>,
    /// The same at the worst look.
    pub worst_failed_percent: Option<f64>,
    /// The middle of the looks' medians.
    pub p50_ms: Option<f64>,
    /// The middle of the looks' 99th percentiles.
    pub p99_ms: Option<f64>,
    /// The worst of them.
    pub worst_p99_ms: Option<f64>,
}

impl Performance {
    pub(super) fn of(reading: &Reading<'_>) -> Self {
        let minimum = reading.state.plan.thresholds.minimum_samples;
        let both: Vec<&Look<'_>> = reading
            .looks
            .iter()
            .filter(|look| {
                let (stable, candidate) = (look.analysis.stable, look.analysis.candidate);
                stable.calls >= minimum && candidate.calls >= minimum
            })
            .collect();
        let ratio = |figure: fn(&LaneSeen) -> Option<f64>| {
            middle(both.iter().filter_map(|look| {
                let (stable, candidate) = (
                    figure(&look.analysis.stable)?,
                    figure(&look.analysis.candidate)?,
                );
                // A zero baseline has no ratio.
                (stable > 0.0).then_some(candidate / stable)
            }))
        };
        let ends = [both.first(), both.last()];
        let mut evidence: Vec<u64> = ends.into_iter().flatten().map(|look| look.seq).collect();
        evidence.dedup();
        Self {
            stages: stages(reading),
            compared: both.len() as u64,
            p50_ratio: ratio(|lane| lane.p50_ms),
            p99_ratio: ratio(|lane| lane.p99_ms),
            evidence,
        }
    }
}

fn stages(reading: &Reading<'_>) -> Vec<StageFigures> {
    let end = reading.entries.last().map(|entry| entry.at);
    let records = reading.state.stages.iter().map(|record| {
        let looks: Vec<&Look<'_>> = reading.looks_in(record.stage).collect();
        let of = |verdict| {
            let looks = looks.iter();
            looks
                .filter(|look| look.analysis.verdict == verdict)
                .count() as u64
        };
        let until = record.left_at.or(end).unwrap_or(record.entered_at);
        let took = between(record.entered_at, until);
        StageFigures {
            number: record.stage + 1,
            percent: f64::from(record.percent.basis_points()) / 100.0,
            measured_percent: record.measured_percent,
            hold_s: record.hold.as_secs_f64(),
            healthy_s: record.healthy.as_secs_f64(),
            took_s: took.as_secs_f64(),
            looks: looks.len() as u64,
            healthy_looks: of(Verdict::Healthy),
            inconclusive_looks: of(Verdict::Inconclusive),
            stable: lane(record.calls_stable, &looks, |look| look.analysis.stable),
            candidate: lane(record.calls_candidate, &looks, |look| {
                look.analysis.candidate
            }),
        }
    });
    records.collect()
}

fn lane(calls: u64, looks: &[&Look<'_>], of: fn(&Look<'_>) -> LaneSeen) -> LaneFigures {
    let seen: Vec<LaneSeen> = looks.iter().map(|look| of(look)).collect();
    let failed = || {
        seen.iter()
            .filter_map(|lane| share(lane.failed, lane.calls))
    };
    LaneFigures {
        calls,
        failed_percent: middle(failed()),
        worst_failed_percent: worst(failed()),
        p50_ms: middle(seen.iter().filter_map(|lane| lane.p50_ms)),
        p99_ms: middle(seen.iter().filter_map(|lane| lane.p99_ms)),
        worst_p99_ms: worst(seen.iter().filter_map(|lane| lane.p99_ms)),
    }
}

/// In percent; nothing of nothing.
pub(super) fn share(part: u64, all: u64) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "calls beyond 2^52 are not counted one by one"
    )]
    (all > 0).then(|| part as f64 / all as f64 * 100.0)
}

fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn worst(values: impl Iterator<Item = f64>) -> Option<f64> {
    values
        .filter(|value| value.is_finite())
        .max_by(f64::total_cmp)
}

impl StageFigures {
    /// How long it took by the clock.
    pub(super) fn took(&self) -> Duration {
        Duration::try_from_secs_f64(self.took_s).unwrap_or_default()
    }

    pub(super) fn hold(&self) -> Duration {
        Duration::try_from_secs_f64(self.hold_s).unwrap_or_default()
    }

    pub(super) fn healthy(&self) -> Duration {
        Duration::try_from_secs_f64(self.healthy_s).unwrap_or_default()
    }
}
