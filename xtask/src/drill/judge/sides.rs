//! Which calls tell on which side their session is, and whether enough of them do.
//!
//! Invariant: a call is excused for no longer than it has to be. A server that was away has its candidate
//! back when it says so itself, and not after some time that somebody thought long enough.

use std::time::Duration;

use crate::drill::rehearsal::{Away, Rehearsal};
use crate::live::ledger::Sample;
use crate::live::timeline::Timeline;

/// A time in which a session's side says nothing.
type Span = (Duration, Duration);

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Excuses {
    /// In which the drill itself moved the sides.
    by_drill: Vec<Span>,
    /// In which the server was away, or had no candidate yet.
    by_restart: Vec<Span>,
}

/// What was judged.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Judged {
    /// Calls that have a side.
    pub(super) of: usize,
    /// Those of them that were not excused.
    pub(super) calls: usize,
    /// Shares of stages in which restarts have excused every call.
    pub(super) blind: Vec<f64>,
}

impl Excuses {
    /// Of a drill. `settled` are the moments at which a server that had been away was seen to have its
    /// candidate, or to need none.
    pub(super) fn of(rehearsal: &Rehearsal<'_>, settled: &[Duration]) -> Self {
        Self {
            by_drill: rehearsal.unseen.clone(),
            by_restart: until_settled(&rehearsal.aways, settled),
        }
    }

    /// Whether this call's side says nothing.
    pub(super) fn excuse(&self, sample: &Sample) -> bool {
        falls_into(&self.by_drill, sample) || falls_into(&self.by_restart, sample)
    }

    /// How many calls are judged, and in which stages none is.
    pub(super) fn judged(&self, samples: &[Sample], timeline: &Timeline) -> Judged {
        let sided = || samples.iter().filter(|sample| sample.side().is_some());
        let end = samples.iter().map(|sample| sample.ended).max();
        let stages = timeline.stages(end.unwrap_or_default());
        let blind = stages.into_iter().filter(|(_, from, until)| {
            let within = || sided().filter(|sample| (*from..*until).contains(&sample.started));
            let restarted = within().any(|sample| falls_into(&self.by_restart, sample));
            // Where the drill moved the sides itself, there is nothing to judge.
            let own = within().any(|sample| falls_into(&self.by_drill, sample));
            restarted && !own && within().all(|sample| self.excuse(sample))
        });
        Judged {
            of: sided().count(),
            calls: sided().filter(|sample| !self.excuse(sample)).count(),
            blind: blind.map(|(percent, ..)| percent).collect(),
        }
    }
}

impl Judged {
    /// In words, for the claim.
    pub(super) fn told(&self) -> String {
        let mut text = format!("sides judged on {} of {} calls", self.calls, self.of);
        for percent in &self.blind {
            text += &format!(", on none at {percent} %");
        }
        text
    }
}

fn until_settled(aways: &[Away], settled: &[Duration]) -> Vec<Span> {
    let end = |away: &Away| settled.iter().find(|at| **at > away.from).copied();
    aways
        .iter()
        .map(|away| (away.from, end(away).unwrap_or(Duration::MAX)))
        .collect()
}

fn falls_into(spans: &[Span], sample: &Sample) -> bool {
    spans
        .iter()
        .any(|(from, until)| sample.ended >= *from && sample.started <= *until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ledger::Lane;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn call(second: u64) -> Sample {
        Sample {
            session: 1,
            program: "triage",
            started: s(second),
            ended: s(second),
            lane: Some(Lane::Stable),
            failed_over: false,
            failure: None,
            worker: None,
            attempts: 1,
        }
    }

    fn away(from: u64) -> Away {
        Away {
            from: s(from),
            back: s(from + 1),
        }
    }

    fn excuses(by_drill: Vec<Span>, aways: &[Away], settled: &[Duration]) -> Excuses {
        Excuses {
            by_drill,
            by_restart: until_settled(aways, settled),
        }
    }

    #[test]
    fn a_restart_excuses_until_the_candidate_was_seen_and_no_longer() {
        // Killed again at 14 before its candidate was seen.
        let excuses = excuses(Vec::new(), &[away(4), away(10), away(14)], &[s(6), s(17)]);
        let told: Vec<u64> = (0..20).filter(|at| !excuses.excuse(&call(*at))).collect();
        assert_eq!(told, [0, 1, 2, 3, 7, 8, 9, 18, 19]);
        let never = until_settled(&[away(4)], &[s(3)]);
        assert_eq!(never, [(s(4), Duration::MAX)]);
    }

    #[test]
    fn a_stage_of_which_restarts_leave_nothing_is_blind() {
        let mut timeline = Timeline::default();
        for (second, percent) in [(0, 0.0), (5, 10.0), (10, 25.0), (15, 0.0)] {
            timeline.observe(s(second), s(second), percent, true);
        }
        let samples: Vec<Sample> = (0..20).map(call).collect();
        let judge = |excuses: Excuses| excuses.judged(&samples, &timeline);
        let seen = judge(excuses(Vec::new(), &[away(5), away(11)], &[s(8), s(14)]));
        assert_eq!((seen.calls, seen.of), (12, 20));
        assert_eq!(seen.blind, [0.0; 0]);
        let blind = judge(excuses(Vec::new(), &[away(5), away(10)], &[s(8), s(15)]));
        assert_eq!(blind.blind, [25.0]);
        assert_eq!(
            blind.told(),
            "sides judged on 10 of 20 calls, on none at 25 %"
        );
        let own = judge(excuses(vec![(s(9), s(16))], &[away(12)], &[s(13)]));
        assert_eq!(own.blind, [0.0; 0]);
    }
}
