//! One pass over a journal: the state at each entry, the looks, and the silences between them.
//!
//! Invariant: times are the journal's labels, by the wall clock of whoever wrote. A span that comes out
//! negative (the clock went back) is nothing, and is told by [`Reading::clock_went_back`].

use std::time::Duration;

use dspex_flags::Percent;
use jiff::Timestamp;

use super::Moment;
use super::operations::{Gap, Pause};
use crate::analysis::{Analysis, Verdict};
use crate::cause::Cause;
use crate::event::{Entry, Event};
use crate::id::MigrationId;
use crate::lever::Lever;
use crate::phase::Phase;
use crate::state::State;

/// Two looks this much further apart than the interval are one that was missed: a busy machine delays
/// a look, and does not skip it.
const LATE: Duration = Duration::from_secs(2);

/// A look at the lanes that was written down: in a stage, after the last one, or as the reason of a
/// rollback, which is not told otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    /// The stage it was made in, from 0; none where it was made after the last.
    pub(super) stage: Option<usize>,
    pub(super) analysis: &'a Analysis,
}

/// Traffic that was really set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) percent: Percent,
    /// How long it took from the decision until every router served it.
    pub(super) took: Duration,
}

/// What one pass over the journal finds.
pub(super) struct Reading<'a> {
    pub(super) entries: &'a [Entry],
    /// The state at the end.
    pub(super) state: &'a State,
    pub(super) looks: Vec<Look<'a>>,
    pub(super) shares: Vec<Share>,
    pub(super) pauses: Vec<Pause>,
    pub(super) gaps: Vec<Gap>,
    /// Entries that were written earlier than the one before them.
    pub(super) clock_went_back: Vec<u64>,
}

/// From one label to another; nothing where the second is earlier.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// What is asked of the state before an entry.
#[derive(Clone, Copy)]
struct Before {
    lever: Lever,
    paused: bool,
    /// The stage that it was in, while it was in one.
    stage: Option<usize>,
}

impl<'a> Reading<'a> {
    /// Reads a journal of which `state` is the end.
    pub(super) fn of(id: &MigrationId, entries: &'a [Entry], state: &'a State) -> Self {
        let mut reading = Self {
            entries,
            state,
            looks: Vec::new(),
            shares: Vec::new(),
            pauses: Vec::new(),
            gaps: Vec::new(),
            clock_went_back: Vec::new(),
        };
        let Some(first) = entries.first() else {
            return reading;
        };
        let mut at = State::begin(
            id.clone(),
            state.plan.clone(),
            state.who.clone(),
            state.why.clone(),
            first.at,
        );
        let mut before = first;
        let mut decided = first.at;
        for entry in &entries[1..] {
            reading.silence(&at, before, entry);
            if matches!(
                entry.event,
                Event::StageEntered { .. } | Event::RollbackBegan { .. } | Event::Resumed { .. }
            ) {
                decided = entry.at;
            }
            let was = Before {
                lever: at.lever,
                paused: at.paused.is_some(),
                stage: at.stage.filter(|_| at.phase == Phase::Rollout),
            };
            at = at.next(entry);
            reading.take(entry, was, &at, decided);
            before = entry;
        }
        reading
    }

    /// Takes one entry in.
    fn take(&mut self, entry: &'a Entry, before: Before, after: &State, decided: Timestamp) {
        let (seq, at) = (entry.seq, entry.at);
        let looked = match &entry.event {
            Event::Ticked { analysis, .. } | Event::Watched { analysis, .. } => Some(analysis),
            // The look that asks for a rollback comes to nothing else. One that was told is repeated here
            // where a person asks.
            Event::RollbackBegan { snapshot, .. } => {
                let told = self.looks.last().map(|look| look.analysis);
                snapshot.as_ref().filter(|seen| told != Some(*seen))
            }
            _ => None,
        };
        if let Some(analysis) = looked {
            self.looks.push(Look {
                seq,
                at,
                stage: before.stage,
                analysis,
            });
        }
        let settled = |lever| matches!(lever, Lever::At { .. } | Lever::Zero);
        if settled(after.lever) && before.lever != after.lever {
            self.shares.push(Share {
                seq,
                at,
                percent: after.percent(),
                took: between(decided, at),
            });
        }
        match (before.paused, &after.paused) {
            (false, Some(cause)) => self.pauses.push(Pause {
                seq,
                from: at,
                until: None,
                cause: cause.clone(),
            }),
            (true, None) => {
                if let Some(pause) = self.pauses.last_mut() {
                    pause.until = Some(at);
                }
            }
            _ => {}
        }
    }

    /// A stage that is healthy is written about at every look, because it is credited with time: so
    /// silence after such a look is a controller that did not look. After any other look there may
    /// have been nothing new to write, and silence says nothing.
    fn silence(&mut self, state: &State, before: &Entry, now: &Entry) {
        if now.at < before.at {
            self.clock_went_back.push(now.seq);
        }
        let credited = matches!(&before.event, Event::Ticked { credit_ms, analysis, .. }
            if *credit_ms > 0 && analysis.verdict == Verdict::Healthy);
        let looked = state.phase == Phase::Rollout
            && state.paused.is_none()
            && matches!(state.lever, Lever::At { .. });
        let silent = between(before.at, now.at);
        let interval = state.plan.interval;
        if credited && looked && silent > (interval * 3).max(interval + LATE) {
            self.gaps.push(Gap {
                after: before.seq,
                from: before.at,
                until: now.at,
            });
        }
    }

    /// Looks that the rollout was judged by.
    pub(super) fn looks_in(&self, stage: usize) -> impl Iterator<Item = &Look<'a>> {
        self.looks
            .iter()
            .filter(move |look| look.stage == Some(stage))
    }

    /// Numbers of the entries that `what` says yes to.
    pub(super) fn numbers(&self, what: impl Fn(&Event) -> bool) -> Vec<u64> {
        let picked = self.entries.iter().filter(|entry| what(&entry.event));
        picked.map(|entry| entry.seq).collect()
    }

    /// Everything but the looks at which nothing changed.
    pub(super) fn timeline(&self) -> Vec<Moment> {
        let mut told: Option<Verdict> = None;
        let mut moments = Vec::new();
        for entry in self.entries {
            let text = match &entry.event {
                Event::Ticked { analysis, .. } => {
                    if told.replace(analysis.verdict) == Some(analysis.verdict) {
                        continue;
                    }
                    format!("the verdict is {}", verdict_in_words(analysis))
                }
                Event::StageEntered { .. } => {
                    told = None;
                    entry.event.to_string()
                }
                event => event.to_string(),
            };
            moments.push(Moment {
                seq: entry.seq,
                at: entry.at,
                text,
                trouble: entry.event.is_trouble(),
            });
        }
        moments
    }
}

/// A verdict, and the reasons that make it.
pub(super) fn verdict_in_words(analysis: &Analysis) -> String {
    let verdict = analysis.verdict.to_string();
    let summary = analysis.summary();
    if analysis.verdict == Verdict::Healthy || summary == verdict {
        verdict
    } else {
        format!("{verdict}: {summary}")
    }
}

/// Who did it, where a person did.
pub(super) fn person(cause: &Cause) -> Option<&str> {
    match cause {
        Cause::Person { who, .. } => Some(who),
        Cause::Controller { .. } => None,
    }
}
