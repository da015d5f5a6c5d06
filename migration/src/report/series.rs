//! What the plots are drawn from: the share, and what each look saw.
//!
//! Invariant: at most [`POINTS`] points to a line, however long the journal is. Where several looks
//! fall together the worst of them stands, so that no spike is thinned away.

use serde::Serialize;

use super::performance::share;
use super::reading::{Look, Reading, between};
use crate::analysis::{LaneSeen, Verdict};

/// More than a plot has pixels to show.
pub(super) const POINTS: usize = 600;

/// One point of a line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Seconds since the migration began.
    pub at_s: f64,
    /// The value, in the line's unit.
    pub value: f64,
}

/// A stage's time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Band {
    /// Which stage, from 1.
    pub number: usize,
    /// Its share, in percent.
    pub percent: f64,
    /// From, in seconds since the migration began.
    pub from_s: f64,
    /// To.
    pub to_s: f64,
}

/// A time in which every look came to the same verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VerdictSpan {
    /// The verdict.
    pub verdict: Verdict,
    /// From, in seconds since the migration began.
    pub from_s: f64,
    /// To: the next look of another verdict, or the end of the stage.
    pub to_s: f64,
}

/// What the plots are drawn from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// How long it took, in seconds.
    pub length_s: f64,
    /// The stages.
    pub bands: Vec<Band>,
    /// The share that every router serves, in percent: steps.
    pub share: Vec<Point>,
    /// Median latency of stable, in milliseconds.
    pub p50_stable: Vec<Point>,
    /// Median latency of the candidate, in milliseconds.
    pub p50_candidate: Vec<Point>,
    /// 99th percentile of stable, in milliseconds.
    pub p99_stable: Vec<Point>,
    /// 99th percentile of the candidate, in milliseconds.
    pub p99_candidate: Vec<Point>,
    /// Failed calls on stable, in percent of its calls.
    pub failed_stable: Vec<Point>,
    /// Failed calls on the candidate, in percent of its calls.
    pub failed_candidate: Vec<Point>,
    /// Verdicts.
    pub verdicts: Vec<VerdictSpan>,
}

impl Series {
    pub(super) fn of(reading: &Reading<'_>) -> Self {
        let began = reading.state.started_at;
        let seconds = |at| between(began, at).as_secs_f64();
        let end = reading
            .entries
            .last()
            .map_or(0.0, |entry| seconds(entry.at));
        let line = |value: fn(&Look<'_>) -> Option<f64>| {
            let points = reading.looks.iter().filter_map(|look| {
                let value = value(look).filter(|value| value.is_finite())?;
                Some(Point {
                    at_s: seconds(look.at),
                    value,
                })
            });
            thin(points.collect(), end)
        };
        Self {
            length_s: end,
            bands: reading
                .state
                .stages
                .iter()
                .map(|record| Band {
                    number: record.stage + 1,
                    percent: f64::from(record.percent.basis_points()) / 100.0,
                    from_s: seconds(record.entered_at),
                    to_s: record.left_at.map_or(end, seconds),
                })
                .collect(),
            share: reading
                .shares
                .iter()
                .map(|share| Point {
                    at_s: seconds(share.at),
                    value: f64::from(share.percent.basis_points()) / 100.0,
                })
                .collect(),
            p50_stable: line(|look| look.analysis.stable.p50_ms),
            p50_candidate: line(|look| look.analysis.candidate.p50_ms),
            p99_stable: line(|look| look.analysis.stable.p99_ms),
            p99_candidate: line(|look| look.analysis.candidate.p99_ms),
            failed_stable: line(|look| failed(&look.analysis.stable)),
            failed_candidate: line(|look| failed(&look.analysis.candidate)),
            verdicts: verdicts(reading, seconds),
        }
    }
}

fn failed(lane: &LaneSeen) -> Option<f64> {
    share(lane.failed, lane.calls)
}

/// One point to each of [`POINTS`] spans: the highest in it.
fn thin(points: Vec<Point>, length: f64) -> Vec<Point> {
    if points.len() <= POINTS {
        return points;
    }
    let mut thinned: Vec<Point> = Vec::with_capacity(POINTS);
    let mut slot = usize::MAX;
    for point in points {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among six hundred"
        )]
        let here = ((point.at_s / length.max(f64::MIN_POSITIVE)) * (POINTS - 1) as f64) as usize;
        match thinned.last_mut() {
            Some(last) if here == slot => {
                if point.value > last.value {
                    *last = point;
                }
            }
            _ => {
                slot = here;
                thinned.push(point);
            }
        }
    }
    thinned
}

fn verdicts(reading: &Reading<'_>, seconds: impl Fn(jiff::Timestamp) -> f64) -> Vec<VerdictSpan> {
    let mut spans: Vec<VerdictSpan> = Vec::new();
    let mut stage = None;
    for look in &reading.looks {
        let at = seconds(look.at);
        // The look that is written judges the time since the one before it.
        let began = reading
            .state
            .stages
            .iter()
            .rev()
            .find(|record| Some(record.stage) == look.stage)
            .map_or(at, |record| seconds(record.entered_at));
        match spans.last_mut() {
            Some(last) if stage == look.stage && last.verdict == look.analysis.verdict => {
                last.to_s = at;
            }
            Some(last) if stage == look.stage => {
                let from_s = last.to_s;
                spans.push(VerdictSpan {
                    verdict: look.analysis.verdict,
                    from_s,
                    to_s: at,
                });
            }
            _ => spans.push(VerdictSpan {
                verdict: look.analysis.verdict,
                from_s: began,
                to_s: at,
            }),
        }
        stage = look.stage;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_thinned_and_keeps_its_spike() {
        let points: Vec<Point> = (0..100_000_u32)
            .map(|index| Point {
                at_s: f64::from(index),
                value: if index == 54_321 { 900.0 } else { 10.0 },
            })
            .collect();
        let thinned = thin(points, 99_999.0);
        assert!(thinned.len() <= POINTS, "{}", thinned.len());
        assert!(thinned.iter().any(|point| point.value > 899.0));
        assert!(thinned.is_sorted_by(|a, b| a.at_s < b.at_s));
    }
}
