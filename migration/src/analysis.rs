//! Stable against the candidate: a verdict, with reasons.
//!
//! Invariants (laws 3 and 7): unknown is not healthy; pool faults speak against the candidate by
//! themselves, every other fault only by a significant difference between the lanes, and the
//! caller's never. A rule on calls that moves or stops traffic, and every comparison of the lanes,
//! fires only where the [`Ledger`](crate::Ledger) has proved it at the plan's significance, over the
//! whole migration and all looks; and then only where what is seen now is beyond its limit too. So a
//! handful of samples never rolls back. An absolute rule that only reports or holds fires on what was
//! measured, because holding for nothing costs time alone.

mod differences;
mod errors;
mod latencies;
mod memory;
mod statistics;
mod surroundings;

use std::borrow::Cow;

use dspex_flags::Percent;
use dspex_telemetry::{Blame, LaneWindow};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::thresholds::{Action, Thresholds};
use crate::wording;

pub(crate) use statistics::{ln_gamma, number};

/// What an analysis comes to, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough was seen, and nothing speaks against the candidate: the stage ages.
    Healthy,
    /// Something is not as it should be: the stage does not age.
    Warning,
    /// Not enough was seen: the stage does not age.
    Inconclusive,
    /// A rule that stops or moves traffic is broken.
    Critical,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Inconclusive => "inconclusive",
            Self::Critical => "critical",
        })
    }
}

/// One thing that an analysis has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The rule, by its name in [`Thresholds`].
    pub rule: Cow<'static, str>,
    /// What an operator reads: the value against the limit, with units.
    pub text: String,
    /// What this makes of the verdict. Healthy for what is only worth a word.
    pub verdict: Verdict,
    /// What is to be done.
    pub action: Action,
    /// The value that was judged, where there is one: a fraction of one for shares (an hour, for
    /// growth), milliseconds for latencies.
    pub value: Option<f64>,
    /// The limit that it was held against, in the same unit.
    pub limit: Option<f64>,
    /// What is lacking for a judgement, such as `38 more calls on the candidate`.
    pub needs: Option<String>,
    /// What has become worse, where the rule is about more than one thing. None in journals of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Degraded>,
}

/// What the rule `degradation` has found worse than stable's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Degraded {
    /// More calls fail; the value is a share.
    Errors,
    /// Calls take longer; the value is in milliseconds.
    Latency,
}

/// What an analysis comes to, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The worst of the reasons' verdicts; Healthy where there is none.
    pub verdict: Verdict,
    /// Everything there is to say, the worst first.
    pub reasons: Vec<Reason>,
    /// How many seconds the window covered.
    pub seconds: f64,
    /// Stable in short.
    pub stable: LaneSeen,
    /// The candidate in short.
    pub candidate: LaneSeen,
}

/// One lane over the window, in short. Latencies in milliseconds; none where there was no call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LaneSeen {
    /// Calls that ended.
    pub calls: u64,
    /// Calls that failed, but for the caller's own faults.
    pub failed: u64,
    /// Calls that failed by the pool's fault.
    pub pool_faults: u64,
    /// The median of whole calls.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of whole calls.
    pub p99_ms: Option<f64>,
    /// The 99th percentile of all but the program's own time.
    pub overhead_p99_ms: Option<f64>,
}

/// Judges what was seen.
#[must_use]
pub fn analyse(thresholds: &Thresholds, seen: &Evidence) -> Analysis {
    let mut reasons = surroundings::judge(thresholds, seen);
    reasons.extend(memory::judge(thresholds.memory_growth, seen));
    reasons.extend(differences::judge(thresholds, seen));
    reasons.extend(samples(thresholds, seen));
    reasons.extend(errors::judge(thresholds, seen));
    reasons.extend(latencies::judge(thresholds, seen));
    reasons.sort_by_key(|reason| std::cmp::Reverse((reason.verdict, reason.action)));
    Analysis {
        verdict: reasons
            .iter()
            .map(|reason| reason.verdict)
            .max()
            .unwrap_or(Verdict::Healthy),
        reasons,
        seconds: seen.candidate.seconds,
        stable: LaneSeen::of(&seen.stable),
        candidate: LaneSeen::of(&seen.candidate),
    }
}

impl Analysis {
    /// What is to be done about it at once: [`Action::Rollback`], [`Action::Pause`] or nothing.
    #[must_use]
    pub fn action(&self) -> Option<Action> {
        let critical = |reason: &&Reason| reason.verdict == Verdict::Critical;
        self.reasons
            .iter()
            .filter(critical)
            .map(|reason| reason.action)
            .max()
    }

    /// The same where all traffic is meant for the candidate: that it cannot take any is then no lack of
    /// knowledge, but a trouble that must be told.
    pub(crate) fn with_all_traffic(mut self) -> Self {
        for reason in &mut self.reasons {
            if reason.rule == surroundings::CANDIDATE {
                reason.verdict = Verdict::Critical;
                self.verdict = Verdict::Critical;
            }
        }
        self.reasons
            .sort_by_key(|reason| std::cmp::Reverse((reason.verdict, reason.action)));
        self
    }

    /// The reasons for the verdict in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let texts: Vec<&str> = self
            .reasons
            .iter()
            .filter(|reason| reason.verdict == self.verdict)
            .map(|reason| reason.text.as_str())
            .collect();
        if texts.is_empty() {
            self.verdict.to_string()
        } else {
            texts.join("; ")
        }
    }
}

impl LaneSeen {
    fn of(window: &LaneWindow) -> Self {
        let (total, overhead) = (window.total.summary(), window.overhead.summary());
        Self {
            calls: window.calls,
            failed: comparable_failures(window),
            pool_faults: window.errors_of(Blame::Pool),
            p50_ms: total.p50_ms,
            p99_ms: total.p99_ms,
            overhead_p99_ms: overhead.p99_ms,
        }
    }
}

impl Reason {
    /// A rule that is broken.
    fn breach(rule: &'static str, action: Action, text: String, value: f64, limit: f64) -> Self {
        let verdict = match action {
            Action::Note => Verdict::Healthy,
            Action::Log => Verdict::Warning,
            Action::Pause | Action::Rollback => Verdict::Critical,
        };
        let finite = |number: f64| number.is_finite().then_some(number);
        let (value, limit) = (finite(value), finite(limit));
        Self {
            rule: rule.into(),
            text,
            verdict,
            action,
            value,
            limit,
            needs: None,
            degraded: None,
        }
    }

    /// The same, with what has become worse.
    fn of(self, degraded: Degraded) -> Self {
        Self {
            degraded: Some(degraded),
            ..self
        }
    }

    /// Something that must be known and is not: the stage does not age.
    fn unknown(rule: &'static str, text: String, needs: String) -> Self {
        let verdict = Verdict::Inconclusive;
        let (value, limit, needs) = (None, None, Some(needs));
        Self {
            rule: rule.into(),
            text,
            verdict,
            action: Action::Log,
            value,
            limit,
            needs,
            degraded: None,
        }
    }

    /// A rule that is not judged, which does not stand in the way.
    fn unjudged(rule: &'static str, text: String, needs: Option<String>) -> Self {
        let verdict = Verdict::Healthy;
        let (value, limit) = (None, None);
        Self {
            rule: rule.into(),
            text,
            verdict,
            action: Action::Note,
            value,
            limit,
            needs,
            degraded: None,
        }
    }
}

/// Whether there are calls enough in the lanes.
fn samples(thresholds: &Thresholds, seen: &Evidence) -> Vec<Reason> {
    let minimum = thresholds.minimum_samples;
    let lanes = [
        ("the candidate", &seen.candidate, true),
        // With all traffic on the candidate there is no stable to compare with, and none is asked
        // for: the absolute rules decide alone.
        ("stable", &seen.stable, seen.percent < Percent::HUNDRED),
    ];
    lanes
        .iter()
        .filter(|(_, window, needed)| *needed && window.calls < minimum)
        .map(|(lane, window, _)| {
            let needs = format!(
                "{} on {lane}",
                wording::count(minimum - window.calls, "more call")
            );
            let text = format!(
                "{lane} had {} in this window and {minimum} are needed: waiting for {needs}",
                wording::count(window.calls, "call")
            );
            Reason::unknown("minimum_samples", text, needs)
        })
        .collect()
}

/// All failures that lanes are compared by.
fn comparable_failures(window: &LaneWindow) -> u64 {
    window.failed() - window.errors_of(Blame::Caller)
}

#[cfg(test)]
mod tests;
