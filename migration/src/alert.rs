//! What was told of a candidate: the warnings and criticals of a migration, the last of them.
//!
//! Invariants: bounded; at most one alert of a rule has not ended; an alert ends when a look no longer
//! tells of its rule, or when there is nothing more to look at.

use std::borrow::Cow;
use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;

use crate::analysis::{Analysis, Verdict};

/// How many are kept. Those that have ended go first.
const KEPT: usize = 100;

/// A rule that was broken for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// When it was first told.
    pub at: Timestamp,
    /// The rule, by its name in the thresholds.
    pub rule: Cow<'static, str>,
    /// Warning or Critical: the worst that it came to.
    pub verdict: Verdict,
    /// What was said when it was that bad.
    pub text: String,
    /// When it was over, once it was.
    pub ended_at: Option<Timestamp>,
}

/// The last alerts of a migration, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alerts(VecDeque<Alert>);

impl Alerts {
    /// In the order in which they began.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Alert> {
        self.0.iter()
    }

    /// Takes what a look tells.
    pub(crate) fn take(&mut self, analysis: &Analysis, at: Timestamp) {
        let telling = |verdict| matches!(verdict, Verdict::Warning | Verdict::Critical);
        for alert in self.0.iter_mut().filter(|alert| alert.ended_at.is_none()) {
            let told = analysis
                .reasons
                .iter()
                .any(|reason| telling(reason.verdict) && reason.rule == alert.rule);
            if !told {
                alert.ended_at = Some(at);
            }
        }
        for reason in &analysis.reasons {
            if !telling(reason.verdict) {
                continue;
            }
            let open = self
                .0
                .iter_mut()
                .find(|alert| alert.ended_at.is_none() && alert.rule == reason.rule);
            match open {
                Some(alert) if alert.verdict < reason.verdict => {
                    alert.verdict = reason.verdict;
                    alert.text.clone_from(&reason.text);
                }
                Some(_) => {}
                None => self.push(Alert {
                    at,
                    rule: reason.rule.clone(),
                    verdict: reason.verdict,
                    text: reason.text.clone(),
                    ended_at: None,
                }),
            }
        }
    }

    /// Nothing is looked at any more.
    pub(crate) fn end(&mut self, at: Timestamp) {
        for alert in self.0.iter_mut().filter(|alert| alert.ended_at.is_none()) {
            alert.ended_at = Some(at);
        }
    }

    fn push(&mut self, alert: Alert) {
        if self.0.len() >= KEPT {
            let ended = self.0.iter().position(|alert| alert.ended_at.is_some());
            self.0.remove(ended.unwrap_or_default());
        }
        self.0.push_back(alert);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{LaneSeen, Reason};
    use crate::thresholds::Action;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn tells(reasons: &[(&'static str, Verdict)]) -> Analysis {
        let reason = |(rule, verdict): &(&'static str, Verdict)| Reason {
            rule: Cow::Borrowed(*rule),
            text: format!("{rule} is {verdict}"),
            verdict: *verdict,
            action: Action::Log,
            value: None,
            limit: None,
            needs: None,
            degraded: None,
        };
        Analysis {
            verdict: Verdict::Warning,
            reasons: reasons.iter().map(reason).collect(),
            seconds: 60.0,
            stable: LaneSeen::default(),
            candidate: LaneSeen::default(),
        }
    }

    #[test]
    fn an_alert_lasts_while_it_is_told_and_remembers_its_worst() {
        let mut alerts = Alerts::default();
        alerts.take(&tells(&[("error_rate", Verdict::Warning)]), at(1));
        alerts.take(&tells(&[("error_rate", Verdict::Critical)]), at(2));
        alerts.take(
            &tells(&[("error_rate", Verdict::Warning), ("cpu", Verdict::Healthy)]),
            at(3),
        );
        alerts.take(&tells(&[]), at(4));
        alerts.take(&tells(&[("error_rate", Verdict::Warning)]), at(5));
        let seen: Vec<_> = alerts
            .iter()
            .map(|alert| (alert.at, alert.verdict, alert.ended_at))
            .collect();
        assert_eq!(
            seen,
            [
                (at(1), Verdict::Critical, Some(at(4))),
                (at(5), Verdict::Warning, None)
            ]
        );
        assert_eq!(alerts.iter().next().unwrap().text, "error_rate is critical");
        alerts.end(at(6));
        assert!(alerts.iter().all(|alert| alert.ended_at.is_some()));
    }

    #[test]
    fn only_the_last_are_kept_and_one_that_lasts_outlives_those_that_ended() {
        let mut alerts = Alerts::default();
        for second in 0..300 {
            let both = [("error_rate", Verdict::Warning), ("cpu", Verdict::Warning)];
            let told = if second % 2 == 0 {
                &both[..]
            } else {
                &both[..1]
            };
            alerts.take(&tells(told), at(second));
        }
        assert_eq!(alerts.iter().count(), KEPT);
        let lasting = alerts
            .iter()
            .find(|alert| alert.rule == "error_rate")
            .unwrap();
        assert_eq!((lasting.at, lasting.ended_at), (at(0), None));
    }
}
