//! The record of a validation while it runs: what is tried now, and what was found.

use tokio::time::Instant;

use super::Listener;
use super::report::{Finding, Progress};

/// See the module.
pub(super) struct Trial<'a> {
    listener: &'a Listener<'a>,
    findings: Vec<Finding>,
    began: Instant,
}

impl<'a> Trial<'a> {
    pub(super) fn new(listener: &'a Listener<'a>) -> Self {
        Self {
            listener,
            findings: Vec::new(),
            began: Instant::now(),
        }
    }

    /// This is tried now; what is found next took the time from here on.
    pub(super) fn begins(&mut self, what: &'static str) {
        self.began = Instant::now();
        (self.listener)(Progress::Begins(what));
    }

    /// This was found.
    pub(super) fn found(&mut self, finding: Finding) {
        let took = self.began.elapsed().as_millis();
        let finding = Finding {
            took_ms: u64::try_from(took).unwrap_or(u64::MAX),
            ..finding
        };
        (self.listener)(Progress::Found(finding.clone()));
        self.findings.push(finding);
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}
