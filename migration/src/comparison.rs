//! The two pools beside each other, in the numbers that an operator asks for first.

use serde::Serialize;

use crate::analysis::{Analysis, LaneSeen};

/// The two pools beside each other, as of the last look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Stable.
    pub stable: Throughput,
    /// The candidate.
    pub candidate: Throughput,
    /// The candidate's median over stable's; none where one of them had no call.
    pub p50_ratio: Option<f64>,
    /// The candidate's 99th percentile over stable's; none where one of them had no call.
    pub p99_ratio: Option<f64>,
}

/// What one pool did over the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throughput {
    /// Calls that ended in a second; none where the window has no length.
    pub calls_per_second: Option<f64>,
    /// Calls that failed, but for the caller's own faults, in percent; none where there was no call.
    pub error_percent: Option<f64>,
}

impl Comparison {
    pub(crate) fn of(analysis: &Analysis) -> Self {
        let (stable, candidate) = (&analysis.stable, &analysis.candidate);
        Self {
            stable: throughput(stable, analysis.seconds),
            candidate: throughput(candidate, analysis.seconds),
            p50_ratio: ratio(candidate.p50_ms, stable.p50_ms),
            p99_ratio: ratio(candidate.p99_ms, stable.p99_ms),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "calls beyond 2^52 are not counted one by one"
)]
fn throughput(lane: &LaneSeen, seconds: f64) -> Throughput {
    let (calls, failed) = (lane.calls as f64, lane.failed as f64);
    Throughput {
        calls_per_second: (seconds > 0.0).then(|| calls / seconds),
        error_percent: (lane.calls > 0).then(|| failed / calls * 100.0),
    }
}

fn ratio(candidate: Option<f64>, stable: Option<f64>) -> Option<f64> {
    let (candidate, stable) = candidate.zip(stable)?;
    (stable > 0.0).then(|| candidate / stable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Verdict;

    #[test]
    fn what_was_not_measured_is_not_compared() {
        let seen = |calls, failed, p50_ms| LaneSeen {
            calls,
            failed,
            p50_ms,
            p99_ms: p50_ms,
            ..LaneSeen::default()
        };
        let mut analysis = Analysis {
            verdict: Verdict::Healthy,
            reasons: Vec::new(),
            seconds: 60.0,
            stable: seen(600, 3, Some(100.0)),
            candidate: seen(60, 6, Some(150.0)),
        };
        let compared = Comparison::of(&analysis);
        assert_eq!(compared.stable.calls_per_second, Some(10.0));
        assert_eq!(compared.candidate.error_percent, Some(10.0));
        assert_eq!(compared.p99_ratio, Some(1.5));
        analysis.stable = seen(0, 0, None);
        analysis.seconds = 0.0;
        let compared = Comparison::of(&analysis);
        assert_eq!(compared.stable.error_percent, None);
        assert_eq!(compared.candidate.calls_per_second, None);
        assert_eq!(compared.p50_ratio, None);
    }
}
