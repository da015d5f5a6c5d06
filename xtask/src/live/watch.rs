//! A migration's status, as far as demo and drills look at it.

use serde::Deserialize;
use serde_json::Value;

/// What `GET /admin/v1/migrations/current` says. Members that are new or missing do no harm.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    /// Which migration.
    pub(crate) id: String,
    /// Such as `rollout`.
    pub(crate) phase: String,
    /// The step that is taken in it; none where there is none.
    pub(crate) step: Option<String>,
    /// The share of traffic that was asked for.
    pub(crate) percent: f64,
    /// Whether every router serves that share.
    pub(crate) acknowledged: bool,
    /// Healthy time seen in this stage.
    pub(crate) healthy_for: Value,
    /// Healthy time wanted in this stage.
    pub(crate) hold: Value,
    /// The last look.
    pub(crate) analysis: Option<Analysis>,
    /// Why it is paused; null where it is not.
    pub(crate) paused: Value,
    /// Whether the old pool is cold.
    pub(crate) rested: bool,
    /// How it ended, or why it is rolling back.
    pub(crate) outcome: Option<String>,
    /// What an operator should know now.
    pub(crate) reasons: Vec<String>,
}

/// Stable against candidate over one window.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Analysis {
    pub(crate) verdict: String,
    pub(crate) reasons: Vec<Reason>,
}

/// One rule's word.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Reason {
    pub(crate) text: String,
    pub(crate) verdict: String,
    /// What was measured; null where the rule was not judged.
    pub(crate) value: Value,
}

impl Status {
    /// Whether the migration goes on.
    pub(crate) fn live(&self) -> bool {
        !matches!(
            self.phase.as_str(),
            "complete" | "rolled_back" | "decommissioned" | "stuck"
        )
    }

    /// The verdict with the reasons that make it, in one line. Where it is healthy, those are the
    /// limits that were passed without harm; rules that could not be judged yet are not told.
    pub(crate) fn verdict(&self) -> String {
        let Some(analysis) = &self.analysis else {
            return String::new();
        };
        let healthy = analysis.verdict == "healthy";
        let reasons: Vec<&str> = analysis
            .reasons
            .iter()
            .filter(|reason| {
                if healthy {
                    !reason.value.is_null()
                } else {
                    reason.verdict == analysis.verdict
                }
            })
            .map(|reason| reason.text.as_str())
            .collect();
        if reasons.is_empty() {
            analysis.verdict.clone()
        } else {
            format!("{}: {}", analysis.verdict, reasons.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_told_with_the_reasons_that_make_it() {
        let status = |verdict: &str| -> Status {
            serde_json::from_value(serde_json::json!({
                "phase": "rollout", "percent": 12.5, "acknowledged": true, "new_member": 1,
                "analysis": {"verdict": verdict, "reasons": [
                    {"text": "workers ended", "verdict": "critical", "value": 50.0},
                    {"text": "CPU is high", "verdict": "healthy", "value": 91.0},
                    {"text": "not judged yet", "verdict": "healthy", "value": null},
                ]},
            }))
            .expect("a status")
        };
        assert_eq!(status("critical").verdict(), "critical: workers ended");
        assert_eq!(
            status("healthy").verdict(),
            "healthy: workers ended; CPU is high"
        );
        assert_eq!(status("inconclusive").verdict(), "inconclusive");
        assert_eq!(Status::default().verdict(), "");
    }

    #[test]
    fn what_has_ended_is_not_live() {
        let status = |phase: &str| Status {
            phase: phase.to_owned(),
            ..Status::default()
        };
        assert!(status("rolling_back").live());
        assert!(!status("rolled_back").live() && !status("complete").live());
    }
}
