//! A recorded run, judged again: would other rules have rolled back, and when?
//!
//! Invariants: pure, and by the functions that judge a live run. What a run did not record cannot be
//! replayed: a stage that was never entered, what came after a rollback. That the evidence ends, and
//! where looks are missing, is told.

use jiff::Timestamp;
use serde::Serialize;

use crate::analysis::{Analysis, Verdict, analyse};
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::ledger::Ledger;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::recording::Recorded;
use crate::state::State;
use crate::thresholds::{Action, Thresholds};
use crate::windows::{Judged, Windows};

/// A recorded run under other rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Backtest {
    /// How many looks were replayed.
    pub looks: u64,
    /// How many are missing among them: they could not be recorded.
    pub missing: u64,
    /// The first time that traffic was stopped or taken back by a rule, as it was.
    pub then: Option<Stop>,
    /// And as it would have been.
    pub now: Option<Stop>,
    /// The first time that the candidate would have been rolled back, be it after a pause.
    pub rollback: Option<Stop>,
    /// Looks at which the verdict would have been another.
    pub changed: u64,
    /// Each look.
    pub verdicts: Vec<Verdicts>,
}

/// A rule that stops traffic or takes it back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stop {
    /// When.
    pub at: Timestamp,
    /// In which stage, from 0.
    pub stage: Option<usize>,
    /// What is done.
    pub action: Action,
    /// Why, in one line.
    pub why: String,
}

/// One look, as it was judged and as it would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdicts {
    /// When.
    pub at: Timestamp,
    /// The last entry of the journal after it.
    pub seq: u64,
    /// In which stage, from 0.
    pub stage: Option<usize>,
    /// As it was judged.
    pub then: Judgement,
    /// As it would be.
    pub now: Judgement,
}

/// What was made of a look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What is to be done at once.
    pub action: Option<Action>,
    /// The reasons for the verdict in one line.
    pub why: String,
}

/// Judges the looks of a run again. `entries` is its journal: where a person went on after a pause,
/// what was proved before does not count, and after the last stage there is less that a rule may do.
#[must_use]
pub fn backtest(
    plan: &Plan,
    entries: &[Entry],
    looks: &[Recorded],
    thresholds: &Thresholds,
) -> Backtest {
    let plan = Plan {
        thresholds: thresholds.clone(),
        ..plan.clone()
    };
    let mut resumed = entries
        .iter()
        .filter(|entry| matches!(entry.event, Event::Resumed { .. }))
        .map(|entry| entry.seq)
        .peekable();
    let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
    let mut life = Life::of(&plan, entries);
    let mut epoch = None;
    let mut verdicts = Vec::with_capacity(looks.len());
    for look in looks {
        if epoch.replace(look.epoch) != Some(look.epoch) {
            windows = Windows::default();
        }
        while resumed.next_if(|seq| *seq < look.seq).is_some() {
            ledger.begin_anew();
        }
        let Judged { evidence, .. } = windows.add(&plan, &ledger, look.epoch, &look.sample);
        let analysis = analyse(thresholds, &evidence);
        ledger = evidence.ledger;
        let now = life.judge(analysis);
        life.goes_on_until(look.seq);
        verdicts.push(Verdicts {
            at: look.at,
            seq: look.seq,
            stage: look.stage,
            then: Judgement {
                verdict: look.verdict,
                action: look.action,
                why: look.summary.clone(),
            },
            now,
        });
    }
    let first = |which: fn(&Verdicts) -> &Judgement, least: Action| {
        verdicts.iter().find_map(|look| {
            let judged = which(look);
            let action = judged.action.filter(|action| *action >= least)?;
            Some(Stop {
                at: look.at,
                stage: look.stage,
                action,
                why: judged.why.clone(),
            })
        })
    };
    let changed = verdicts
        .iter()
        .filter(|look| look.then.verdict != look.now.verdict);
    Backtest {
        looks: looks.len() as u64,
        missing: looks.iter().map(|look| look.missing).sum(),
        then: first(|look| &look.then, Action::Pause),
        now: first(|look| &look.now, Action::Pause),
        rollback: first(|look| &look.now, Action::Rollback),
        changed: changed.count() as u64,
        verdicts,
    }
}

/// Where the migration was when a look was made: by what was written down before it.
struct Life<'a> {
    state: Option<State>,
    to_come: std::iter::Peekable<std::slice::Iter<'a, Entry>>,
}

impl<'a> Life<'a> {
    fn of(plan: &Plan, entries: &'a [Entry]) -> Self {
        let mut to_come = entries.iter();
        let began = to_come.next();
        let state = began.map(|first| {
            let id = MigrationId::from_text("backtest".to_owned());
            State::begin(id, plan.clone(), String::new(), String::new(), first.at)
        });
        Self {
            state,
            to_come: to_come.peekable(),
        }
    }

    fn goes_on_until(&mut self, seq: u64) {
        while let Some(entry) = self.to_come.next_if(|entry| entry.seq <= seq) {
            self.state = self.state.take().map(|state| state.next(entry));
        }
    }

    /// As the controller would have judged it then.
    fn judge(&self, analysis: Analysis) -> Judgement {
        let watched = self
            .state
            .as_ref()
            .filter(|state| state.is_watched() && state.phase != Phase::Rollout);
        let analysis = match watched {
            Some(_) => analysis.with_all_traffic(),
            None => analysis,
        };
        let action = analysis.action();
        Judgement {
            verdict: analysis.verdict,
            action: watched.map_or(action, |state| state.comes_of(action)),
            why: analysis.summary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cause::Cause;
    use crate::settings::Settings;
    use crate::simulation::{Difference, Load, Traffic};
    use crate::thresholds::percent;

    fn plan() -> Plan {
        Settings::default().plan("v1", "v2", None).expect("valid")
    }

    /// Looks that were judged when they were made, with a candidate that fails more often.
    fn recorded(failing: f64) -> Vec<Recorded> {
        let difference = Difference {
            failing,
            ..Difference::default()
        };
        let mut traffic = Traffic::new(Load::typical(40.0), difference, 3);
        let (mut windows, mut ledger) = (Windows::default(), Ledger::default());
        (1..=60)
            .map(|seq| {
                let sample = traffic.sample(percent(2_500), Duration::from_secs(5));
                let judged = windows.add(&plan(), &ledger, 1, &sample);
                let analysis = analyse(&plan().thresholds, &judged.evidence);
                ledger = judged.evidence.ledger;
                Recorded {
                    migration: MigrationId::from_text("m-1"),
                    seq,
                    at: Timestamp::from_second(5 * i64::try_from(seq).expect("small"))
                        .expect("a time"),
                    stage: Some(0),
                    watched: false,
                    epoch: 1,
                    missing: u64::from(seq == 4),
                    pools: ["v1".into(), "v2".into()],
                    sample,
                    verdict: analysis.verdict,
                    action: analysis.action(),
                    summary: analysis.summary(),
                }
            })
            .collect()
    }

    #[test]
    fn by_the_same_rules_every_verdict_is_the_same() {
        let looks = recorded(0.08);
        let replayed = backtest(&plan(), &[], &looks, &plan().thresholds);
        assert_eq!(
            (replayed.looks, replayed.changed, replayed.missing),
            (60, 0, 1)
        );
        assert!(replayed.then.is_some());
        assert_eq!(replayed.then, replayed.now);
    }

    #[test]
    fn other_rules_say_when_they_would_have_rolled_back() {
        let looks = recorded(0.08);
        let mut lax = plan().thresholds;
        lax.error_ratio.limit = 50.0;
        let replayed = backtest(&plan(), &[], &looks, &lax);
        assert_eq!((replayed.now, replayed.rollback), (None, None));
        assert!(replayed.changed > 0 && replayed.then.is_some());
        let mut careful = plan().thresholds;
        careful.error_ratio.action = Action::Pause;
        let replayed = backtest(&plan(), &[], &looks, &careful);
        assert_eq!(replayed.now.expect("paused").action, Action::Pause);
        assert_eq!(replayed.rollback, None);
    }

    #[test]
    fn what_was_proved_before_a_person_went_on_does_not_count() {
        let looks = recorded(0.08);
        let first = backtest(&plan(), &[], &looks, &plan().thresholds)
            .now
            .expect("stopped");
        let seq = looks
            .iter()
            .find(|look| look.at == first.at)
            .expect("there")
            .seq;
        let resumed = Entry {
            seq,
            at: first.at,
            event: Event::Resumed {
                cause: Cause::Controller { why: "seen".into() },
            },
        };
        let replayed = backtest(&plan(), &[resumed], &looks, &plan().thresholds);
        let now = &replayed.verdicts[usize::try_from(seq).expect("small")].now;
        assert_ne!(
            now.action,
            Some(Action::Rollback),
            "the very next look begins anew"
        );
        assert!(replayed.changed > 0);
    }

    /// A journal of a migration whose old pool is cold after entry 7.
    fn complete_and_cold() -> Vec<Entry> {
        let ends = r#"[{"type": "started", "plan": PLAN, "who": "ada", "why": "newer"},
            {"type": "step_done", "step": "backup", "checks": []}, {"type": "step_done", "step": "deploy", "checks": []},
            {"type": "step_done", "step": "verify", "checks": []},
            {"type": "stage_entered", "stage": 0, "percent": 5, "waived": false},
            {"type": "completed"}, {"type": "rested", "finished": 0, "abandoned": 0}]"#;
        let plan = serde_json::to_string(&plan()).expect("written");
        let events: Vec<Event> =
            serde_json::from_str(&ends.replace("PLAN", &plan)).expect("events");
        let entries = (1..).zip(events).map(|(seq, event)| Entry {
            seq,
            at: Timestamp::UNIX_EPOCH,
            event,
        });
        entries.collect()
    }

    #[test]
    fn once_it_is_complete_and_cold_a_broken_rule_is_told_and_no_more() {
        let entries = complete_and_cold();
        let state = State::replay(&MigrationId::from_text("m-1"), &entries).expect("a journal");
        assert!(state.rested && state.phase == Phase::Complete, "{state:?}");
        let mut looks = recorded(0.5);
        assert!(
            looks
                .iter()
                .any(|look| look.action == Some(Action::Rollback))
        );
        for look in &mut looks {
            look.seq = 7;
            look.watched = true;
            look.action = state.comes_of(look.action);
        }
        // The first was made while the entries were still to come.
        looks[0].sample.lanes = Default::default();
        let replayed = backtest(&plan(), &entries, &looks, &plan().thresholds);
        assert_eq!((replayed.then, replayed.rollback), (None, None));
        assert!(replayed.verdicts.last().expect("looked").now.verdict == Verdict::Critical);
        let mut down = looks;
        for look in &mut down {
            look.sample.lanes[1] = dspex_telemetry::LaneWindow::default();
            look.sample.candidate_pool = None;
        }
        let replayed = backtest(&plan(), &entries, &down, &plan().thresholds);
        let last = &replayed.verdicts.last().expect("looked").now;
        assert_eq!(last.verdict, Verdict::Critical, "nobody serves: {last:?}");
    }
}
