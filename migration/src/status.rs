//! Where a migration is, for people and for the API.

use std::time::Duration;

use dspex_flags::{Percent, Revision};
use jiff::Timestamp;
use serde::Serialize;

use crate::alert::Alert;
use crate::analysis::{Analysis, Verdict};
use crate::cause::Cause;
use crate::clock;
use crate::comparison::Comparison;
use crate::id::MigrationId;
use crate::phase::Phase;
use crate::retention::Retention;
use crate::scenario::Scenario;
use crate::stage_record::StageRecord;
use crate::state::State;
use crate::step::Step;
use crate::vault::Saved;
use crate::wording;

/// Where a migration is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Which migration.
    pub id: MigrationId,
    /// What is being brought in.
    pub candidate: String,
    /// What serves.
    pub stable: String,
    /// The version of the candidate's configuration, where it has one.
    pub candidate_version: Option<u32>,
    /// The version of stable's configuration, where it has one.
    pub stable_version: Option<u32>,
    /// The part of its way it is on.
    pub phase: Phase,
    /// The step that is taken in it, where there is one.
    pub step: Option<Step>,
    /// Why it is paused, while it is.
    pub paused: Option<Cause>,
    /// The stage it is in, from 0; none before the first.
    pub stage: Option<usize>,
    /// How many stages there are.
    pub stage_count: usize,
    /// The share of traffic that was asked for, as a number of percent in JSON.
    pub percent: Percent,
    /// Whether every router serves that share.
    pub acknowledged: bool,
    /// Healthy time seen in this stage. Text with a unit in JSON.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub healthy_for: Duration,
    /// How long this stage must be seen healthy. None before the first stage, and where a person
    /// has waived it.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::optional")]
    pub hold: Option<Duration>,
    /// On whose word the gate of this stage is open, where it has one and it is.
    pub gate: Option<Cause>,
    /// What it waits for beside its hold: a gate, or the end of a freeze.
    pub waiting_for: Option<String>,
    /// The last look at the candidate.
    pub analysis: Option<Analysis>,
    /// The two pools beside each other, as of that look.
    pub comparison: Option<Comparison>,
    /// The last warnings and criticals, at most 100, in the order in which they began.
    pub alerts: Vec<Alert>,
    /// One for each stage that was entered.
    pub stages: Vec<StageRecord>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, once it has.
    pub ended_at: Option<Timestamp>,
    /// When it was complete, once it was.
    pub completed_at: Option<Timestamp>,
    /// How long the candidate was seen to serve all traffic since then. Text with a unit in JSON.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub served_for: Duration,
    /// How long the old pool is kept.
    pub retention: Retention,
    /// Whether the old pool is cold: it has no workers, and wakes on a call.
    pub rested: bool,
    /// The backup that was made before it began.
    pub backup: Option<Saved>,
    /// What the old pool left behind.
    pub archive: Option<Saved>,
    /// What kind of trouble it was rolled back for.
    pub scenario: Option<Scenario>,
    /// Who began it.
    pub who: String,
    /// Why.
    pub why: String,
    /// How it ended, or why it is rolling back, in one line.
    pub outcome: Option<String>,
    /// What an operator should know now, in sentences: why it is paused, what it lacks, what stands in
    /// the way, what to do by hand.
    pub reasons: Vec<String>,
    /// The revision of the flags at which the share was last acknowledged.
    pub revision: Option<Revision>,
    /// The last entry of the journal in this.
    pub last_seq: u64,
    /// The last command taken from the inbox.
    pub last_command: u64,
}

impl Status {
    /// Whether the migration is under way, so that no other may begin.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.phase.is_live()
    }

    /// Of a state; `look` is the last look, where it is newer than what was written down, and
    /// `trouble` what keeps the controller from going on.
    pub(crate) fn of(state: &State, look: Option<&Analysis>, trouble: Option<&str>) -> Self {
        let analysis = look.or(state.analysis.as_ref()).cloned();
        let mut reasons = Vec::new();
        reasons.extend(trouble.map(str::to_owned));
        reasons.extend(state.problem.clone());
        reasons.extend(
            state
                .paused
                .as_ref()
                .map(|cause| format!("paused: {cause}")),
        );
        // A freeze that has ended meanwhile is waited for by nobody.
        let waiting = state
            .waiting
            .as_ref()
            .filter(|waiting| !waiting.is_over(clock::now()));
        let waiting_for = waiting.map(ToString::to_string);
        reasons.extend(waiting_for.clone());
        if state.is_watched() {
            // After the last stage nothing waits for what is not known: only what is wrong is told.
            let tells = |verdict| match state.phase {
                Phase::Rollout => true,
                // Validated, it is complete as soon as it is seen healthy.
                Phase::Validate if state.step.is_none() => true,
                _ => matches!(verdict, Verdict::Warning | Verdict::Critical),
            };
            let told = analysis.iter().flat_map(|analysis| &analysis.reasons);
            let told = told.filter(|reason| tells(reason.verdict));
            reasons.extend(told.map(|reason| reason.text.clone()));
        }
        Self {
            id: state.id.clone(),
            candidate: state.plan.candidate.clone(),
            stable: state.plan.stable.clone(),
            candidate_version: state.plan.candidate_version,
            stable_version: state.plan.stable_version,
            phase: state.phase,
            step: state.step,
            paused: state.paused.clone(),
            stage: state.stage,
            stage_count: state.plan.stages.len(),
            percent: state.percent(),
            acknowledged: !state.lever.is_moving(),
            healthy_for: state.healthy,
            hold: state.hold().filter(|_| !state.waived),
            gate: state.gate.clone(),
            waiting_for,
            comparison: analysis.as_ref().map(Comparison::of),
            analysis,
            alerts: state.alerts.iter().cloned().collect(),
            stages: state.stages.clone(),
            started_at: state.started_at,
            ended_at: state.ended_at,
            completed_at: state.completed_at,
            served_for: state.served,
            retention: state.plan.retention,
            rested: state.rested,
            backup: state.backup.clone(),
            archive: state.archive.clone(),
            scenario: state.scenario,
            who: state.who.clone(),
            why: state.why.clone(),
            outcome: outcome(state),
            reasons,
            revision: state.revision,
            last_seq: state.seq,
            last_command: state.last_command,
        }
    }
}

/// How a migration ended, or why it is rolling back, in one line.
pub(crate) fn outcome(state: &State) -> Option<String> {
    let why = || {
        state
            .rollback
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    match state.phase {
        Phase::Complete => Some(format!(
            "complete: {} serves {}",
            state.plan.candidate,
            wording::share(state.percent())
        )),
        Phase::Decommissioned => Some(format!(
            "decommissioned: {} is stable, and {} is gone",
            state.plan.candidate_name(),
            state.plan.stable_name()
        )),
        Phase::RollingBack => Some(format!("rolling back: {}", why())),
        Phase::RolledBack => Some(format!("rolled back: {}", why())),
        Phase::Stuck => Some(format!("stuck while rolling back: {}", why())),
        _ => None,
    }
}
