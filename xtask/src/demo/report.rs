//! What an act came to: one JSON object for machines, a few lines for people.

use std::time::Duration;

use serde::Serialize;

use crate::live::ledger::{Figures, Lane, Sample, share};
use crate::live::sessions::Lost;
use crate::live::timeline::Timeline;

/// All acts.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) acts: Vec<ActReport>,
}

/// One act.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ActReport {
    pub(super) name: &'static str,
    /// `complete`, `rolled_back`, or whatever else became of it.
    pub(super) outcome: String,
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) lost_sessions: usize,
    pub(super) seconds: f64,
    pub(super) stages: Vec<StageReport>,
    pub(super) p50_ms: PerLane,
    pub(super) p99_ms: PerLane,
}

/// One stage, as its callers saw it: a request counts for the lane that answered it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageReport {
    pub(super) percent: f64,
    pub(super) measured_percent: f64,
    pub(super) requests_stable: usize,
    pub(super) requests_candidate: usize,
}

/// A latency of each lane; none where nothing was answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct PerLane {
    pub(super) stable: Option<f64>,
    pub(super) candidate: Option<f64>,
}

impl ActReport {
    /// Adds everything up.
    pub(super) fn of(
        name: &'static str,
        outcome: &str,
        samples: &[Sample],
        timeline: &Timeline,
        lost: &[Lost],
        ended: Duration,
    ) -> Self {
        let stages = timeline
            .stages(ended)
            .into_iter()
            .map(|(percent, from, until)| {
                let within = samples
                    .iter()
                    .filter(|s| s.started >= from && s.started < until);
                let stable = Figures::of(Lane::Stable, within.clone()).calls;
                let candidate = Figures::of(Lane::Candidate, within).calls;
                StageReport {
                    percent,
                    measured_percent: rounded(share(stable, candidate)),
                    requests_stable: stable,
                    requests_candidate: candidate,
                }
            })
            .collect();
        let stable = Figures::of(Lane::Stable, samples);
        let candidate = Figures::of(Lane::Candidate, samples);
        Self {
            name,
            outcome: outcome.to_owned(),
            requests: samples.len(),
            failed: samples.iter().filter(|s| s.failure.is_some()).count(),
            lost_sessions: lost.len(),
            seconds: rounded(ended.as_secs_f64()),
            stages,
            p50_ms: PerLane {
                stable: millis(stable.p50),
                candidate: millis(candidate.p50),
            },
            p99_ms: PerLane {
                stable: millis(stable.p99),
                candidate: millis(candidate.p99),
            },
        }
    }

    /// Whether the act ended as it must, with every request answered.
    pub(super) fn as_wanted(&self, wanted: &str) -> bool {
        self.outcome == wanted && self.failed == 0 && self.requests > 0
    }

    /// A few lines for people.
    pub(super) fn summary(&self) -> String {
        let ms = |value: Option<f64>| value.map_or("–".to_owned(), |ms| format!("{ms:.0}"));
        let mut text = format!(
            "{}: {} after {:.1} s, {} requests, {} failed, {} sessions lost\n",
            self.name, self.outcome, self.seconds, self.requests, self.failed, self.lost_sessions
        );
        for stage in &self.stages {
            text.push_str(&format!(
                "  {:5} %  measured {:5.1} %   stable {:6}   candidate {:6}\n",
                stage.percent,
                stage.measured_percent,
                stage.requests_stable,
                stage.requests_candidate
            ));
        }
        text.push_str(&format!(
            "  p50/p99   stable {}/{} ms   candidate {}/{} ms\n",
            ms(self.p50_ms.stable),
            ms(self.p99_ms.stable),
            ms(self.p50_ms.candidate),
            ms(self.p99_ms.candidate),
        ));
        text
    }
}

fn millis(latency: Option<Duration>) -> Option<f64> {
    latency.map(|latency| rounded(latency.as_secs_f64() * 1e3))
}

/// Two digits after the point: more would pretend to a precision that is not there.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::{Failure, Kind};

    fn report() -> ActReport {
        let mut timeline = Timeline::default();
        for (second, percent) in [(1, 0.0), (2, 50.0), (4, 100.0)] {
            let at = Duration::from_secs(second);
            timeline.observe(at, at, percent, true);
        }
        let samples: Vec<Sample> = (0..6)
            .map(|second| Sample {
                session: 1,
                program: "answer",
                started: Duration::from_secs(second),
                ended: Duration::from_secs(second) + Duration::from_millis(50),
                lane: Some(if second < 3 {
                    Lane::Stable
                } else {
                    Lane::Candidate
                }),
                failed_over: false,
                failure: (second == 5).then(|| Failure::of(Kind::Refused, "503")),
                worker: None,
                attempts: 1,
            })
            .collect();
        ActReport::of(
            "happy",
            "complete",
            &samples,
            &timeline,
            &[],
            Duration::from_secs(6),
        )
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let json = serde_json::to_value(Report {
            acts: vec![report()],
        })
        .expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"acts": [{
                "name": "happy",
                "outcome": "complete",
                "requests": 6,
                "failed": 1,
                "lost_sessions": 0,
                "seconds": 6.0,
                "stages": [
                    {"percent": 50.0, "measured_percent": 50.0, "requests_stable": 1, "requests_candidate": 1},
                    {"percent": 100.0, "measured_percent": 100.0, "requests_stable": 0, "requests_candidate": 2},
                ],
                "p50_ms": {"stable": 50.0, "candidate": 50.0},
                "p99_ms": {"stable": 50.0, "candidate": 50.0},
            }]})
        );
    }

    #[test]
    fn an_act_with_a_failed_request_or_another_end_is_not_as_wanted() {
        let mut act = report();
        assert!(!act.as_wanted("complete"));
        act.failed = 0;
        assert!(act.as_wanted("complete"));
        assert!(!act.as_wanted("rolled_back"));
        act.requests = 0;
        assert!(!act.as_wanted("complete"));
    }

    #[test]
    fn the_summary_names_outcome_stages_and_latencies() {
        let text = report().summary();
        assert!(
            text.starts_with("happy: complete after 6.0 s, 6 requests, 1 failed"),
            "{text}"
        );
        assert!(text.contains("50 %  measured  50.0 %"), "{text}");
        assert!(text.contains("stable 50/50 ms"), "{text}");
    }
}
