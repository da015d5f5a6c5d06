//! One validation's record, while it runs and afterwards.
//!
//! Invariant: a record ends exactly once: with what was found, or, where whoever ran it was cut off,
//! as cancelled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dspex_migration::{Extent, Finding, Performance, Progress, Recoveries, ValidationReport};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Asked;
use crate::clock;

/// Where a validation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    /// Under way.
    Running,
    /// Every finding is as it must be.
    Passed,
    /// One is not.
    Failed,
    /// It was cut off, and says nothing.
    Cancelled,
}

/// A validation as it is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) extent: Extent,
    pub(crate) stable: String,
    pub(crate) candidate: String,
    pub(crate) who: String,
    pub(crate) state: RunState,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// What is being tried, while it runs.
    pub(crate) doing: Option<&'static str>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) performance: Option<Performance>,
    pub(crate) recoveries: Vec<Recoveries>,
}

/// See the module.
pub(crate) struct Run {
    id: String,
    stable: String,
    candidate: String,
    cancel: CancellationToken,
    summary: Mutex<Summary>,
}

impl Run {
    pub(super) fn new(asked: &Asked) -> Arc<Self> {
        let id = format!("v-{}", uuid::Uuid::now_v7());
        let (stable, candidate) = (asked.stable.to_string(), asked.candidate.to_string());
        let summary = Summary {
            id: id.clone(),
            extent: asked.extent,
            stable: stable.clone(),
            candidate: candidate.clone(),
            who: asked.who.clone(),
            state: RunState::Running,
            started_at: clock::now(),
            ended_at: None,
            doing: None,
            findings: Vec::new(),
            performance: None,
            recoveries: Vec::new(),
        };
        Arc::new(Self {
            id,
            stable,
            candidate,
            cancel: CancellationToken::new(),
            summary: Mutex::new(summary),
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn stable(&self) -> &str {
        &self.stable
    }

    pub(crate) fn candidate(&self) -> &str {
        &self.candidate
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock().state == RunState::Running
    }

    pub(crate) fn summary(&self) -> Summary {
        self.lock().clone()
    }

    /// Asks it to end. It ends soon after, where it has not ended already.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Ends the record when it is dropped, whatever came before.
    pub(super) fn ending(self: &Arc<Self>) -> Ending {
        Ending(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Summary> {
        self.summary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Run::ending`].
pub(super) struct Ending(Arc<Run>);

impl Ending {
    /// Takes this down.
    pub(super) fn note(&self, progress: Progress) {
        let mut summary = self.0.lock();
        match progress {
            Progress::Begins(what) => summary.doing = Some(what),
            Progress::Found(finding) => summary.findings.push(finding),
        }
    }

    /// Ends it with what was found.
    pub(super) fn with(self, report: &ValidationReport) {
        let mut summary = self.0.lock();
        summary.state = if report.passed {
            RunState::Passed
        } else {
            RunState::Failed
        };
        summary.performance = report.performance;
        summary.recoveries.clone_from(&report.recoveries);
        // Let go before the drop takes it.
        drop(summary);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut summary = self.0.lock();
        if summary.state == RunState::Running {
            summary.state = RunState::Cancelled;
        }
        summary.doing = None;
        summary.ended_at = Some(clock::now());
        tracing::info!(
            id = summary.id,
            stable = summary.stable,
            candidate = summary.candidate,
            state = ?summary.state,
            "a validation has ended"
        );
    }
}
