//! What is shown while an act runs: four lines that are redrawn on a terminal, a line now and then
//! elsewhere. All of it goes to standard error, which leaves standard output to the result.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::live::ledger::{Figures, share};
use crate::live::watch::Status;

/// Without a terminal, how often a line is printed while nothing changes.
const QUIET: Duration = Duration::from_secs(3);

/// One moment of an act.
#[derive(Debug)]
pub(super) struct Moment<'a> {
    /// Since the act began.
    pub(super) at: Duration,
    pub(super) status: &'a Status,
    /// Calls since the present stage began.
    pub(super) stable: Figures,
    pub(super) candidate: Figures,
}

/// The lines of one act.
#[derive(Debug)]
pub(super) struct Screen {
    lines: Option<(MultiProgress, [ProgressBar; 4])>,
    said: Duration,
    stage: (String, f64),
    verdict: String,
}

impl Screen {
    /// An empty screen, with the act's title above it.
    pub(super) fn open(title: &str) -> Self {
        eprintln!("\n{title}");
        let all = MultiProgress::new();
        let lines = (!all.is_hidden()).then(|| {
            let style = ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bars =
                [(); 4].map(|()| all.add(ProgressBar::new_spinner().with_style(style.clone())));
            (all, bars)
        });
        Self {
            lines,
            said: Duration::ZERO,
            stage: (String::new(), 0.0),
            verdict: String::new(),
        }
    }

    /// Shows a moment.
    pub(super) fn show(&mut self, moment: &Moment<'_>) {
        let stage = (moment.status.phase.clone(), moment.status.percent);
        let moved = stage != self.stage && moment.status.acknowledged;
        if moved {
            let (phase, percent) = &stage;
            self.say(&format!(
                "{:6.1} s  {phase}: {percent} % of the sessions go to the candidate",
                moment.at.as_secs_f64(),
            ));
            self.stage = stage;
        }
        let verdict = moment.status.verdict();
        let [head, stable, candidate] = lines(moment);
        if let Some((_, [first, second, third, fourth])) = &self.lines {
            first.set_message(head);
            second.set_message(stable);
            third.set_message(candidate);
            fourth.set_message(format!("  verdict    {verdict}"));
        } else if moved {
            // There is nothing to count in a stage that has just begun.
            self.said = moment.at;
        } else if word(&verdict) != word(&self.verdict)
            || moment.at.saturating_sub(self.said) >= QUIET
        {
            self.said = moment.at;
            eprintln!("{head}\n{stable}\n{candidate}\n  verdict    {verdict}");
        }
        self.verdict = verdict;
    }

    /// Prints a line that stays.
    pub(super) fn say(&self, line: &str) {
        match &self.lines {
            // An error here is a terminal that is gone; there is nobody left to tell.
            Some((all, _)) => drop(all.println(line)),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some((all, _)) = &self.lines {
            let _ = all.clear();
        }
    }
}

/// The verdict without its reasons, whose numbers change all the time.
fn word(verdict: &str) -> &str {
    verdict.split(':').next().unwrap_or_default()
}

fn lines(moment: &Moment<'_>) -> [String; 3] {
    let status = moment.status;
    let measured = share(moment.stable.calls, moment.candidate.calls);
    let held = match (status.healthy_for.as_str(), status.hold.as_str()) {
        (Some(healthy), Some(hold)) => format!(", healthy {healthy} of {hold}"),
        _ => String::new(),
    };
    [
        format!(
            "{:6.1} s  {} {} %: measured {measured:.1} %{held}",
            moment.at.as_secs_f64(),
            status.phase,
            status.percent
        ),
        lane("stable", 100.0 - measured, &moment.stable),
        lane("candidate", measured, &moment.candidate),
    ]
}

fn lane(name: &str, share: f64, figures: &Figures) -> String {
    let millis = |latency: Option<Duration>| {
        latency.map_or("    –".to_owned(), |l| {
            format!("{:5.0}", l.as_secs_f64() * 1e3)
        })
    };
    let share = if figures.calls == 0 { 0.0 } else { share };
    let mut line = format!(
        "  {name:<9} {:6} calls {share:5.1} %  p50 {} ms  p99 {} ms  errors {}",
        figures.calls,
        millis(figures.p50),
        millis(figures.p99),
        figures.failed
    );
    if figures.failed_over > 0 {
        line.push_str(&format!(
            "  ({} of them in the candidate's stead)",
            figures.failed_over
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_shows_share_latency_and_errors_of_both_lanes() {
        let status = Status {
            phase: "rollout".to_owned(),
            percent: 25.0,
            healthy_for: "2s".into(),
            hold: "8s".into(),
            ..Status::default()
        };
        let figures = |calls, failed_over| Figures {
            calls,
            failed: 1,
            failed_over,
            p50: Some(Duration::from_millis(52)),
            p99: Some(Duration::from_millis(98)),
        };
        let moment = Moment {
            at: Duration::from_secs(12),
            status: &status,
            stable: figures(300, 3),
            candidate: figures(100, 0),
        };
        let [head, stable, candidate] = lines(&moment);
        assert_eq!(
            head,
            "  12.0 s  rollout 25 %: measured 25.0 %, healthy 2s of 8s"
        );
        assert_eq!(
            stable,
            "  stable       300 calls  75.0 %  p50    52 ms  p99    98 ms  errors 1  (3 of them in the candidate's stead)"
        );
        assert!(candidate.contains("100 calls  25.0 %"), "{candidate}");
        let nothing = lane("candidate", 0.0, &Figures::default());
        assert!(nothing.contains("p50     – ms"), "{nothing}");
    }
}
