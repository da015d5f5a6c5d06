//! What is wrong, place by place, and one finding of it.

use dspex_pool::Program;

use super::builds::{Built, Unbuilt};
use crate::validation::equal::{Outcome, difference, outputs_differ};
use crate::validation::report::{Area, Finding};
use crate::validation::trial::Trial;

/// See the module.
#[derive(Default)]
pub(super) struct Wrong {
    looked: usize,
    found: Vec<String>,
}

impl Wrong {
    /// One more thing was looked at.
    pub(super) fn look(&mut self) {
        self.looked += 1;
    }

    pub(super) fn note(&mut self, what: String) {
        self.found.push(what);
    }

    pub(super) fn unless_built(&mut self, whose: &str, program: &Program, built: &Built) {
        self.looked += 1;
        if let Err(why) = built {
            self.note(format!("{whose} cannot build {}: {why}", program.key.id));
        }
    }

    pub(super) fn unless_rejected(&mut self, whose: &str, target: &str, built: &Built) {
        self.looked += 1;
        match built {
            Err(Unbuilt::Rejected(_)) => {}
            Err(other) => self.note(format!("{whose} does not refuse {target}: {other}")),
            Ok(()) => self.note(format!("{whose} builds {target}, which is not allowed")),
        }
    }

    /// Both outcomes must be the wanted one.
    pub(super) fn unless(
        &mut self,
        what: &str,
        wanted: &Outcome,
        stable: &Outcome,
        candidate: &Outcome,
    ) {
        for (whose, outcome) in [("stable", stable), ("the candidate", candidate)] {
            self.looked += 1;
            if let Some(found) = differs(wanted, outcome) {
                self.note(format!("{what}, {whose}: {found}"));
            }
        }
    }

    /// Both must do the same, and neither may fail by a fault of its pool's.
    pub(super) fn unless_alike(&mut self, stable: &Outcome, candidate: &Outcome) {
        self.looked += 2;
        if let Some(found) = difference(stable, candidate) {
            self.note(found);
        } else if let Outcome::Unanswered = candidate {
            self.note("neither answers".to_owned());
        } else if let Outcome::Failed { kind, .. } = candidate
            && !["invalid-input", "program-failed", "provider-failed"].contains(kind)
        {
            self.note(format!("both fail: {candidate}"));
        }
    }

    /// Tells it. Whether all was well.
    pub(super) fn find(self, name: &str, limit: &str, hint: &str, trial: &mut Trial<'_>) -> bool {
        let ok = self.found.is_empty();
        let value = match self.found.first() {
            None => format!("{} of {}", self.looked, self.looked),
            Some(first) if self.found.len() == 1 => first.clone(),
            Some(first) => format!("{first}; and {} more", self.found.len() - 1),
        };
        let finding = Finding::new(Area::Functional, name, ok, value, limit);
        trial.found(finding.hint((!ok).then_some(hint)));
        ok
    }
}

/// How an outcome differs from the wanted one.
fn differs(wanted: &Outcome, outcome: &Outcome) -> Option<String> {
    match (wanted, outcome) {
        (Outcome::Answered(wanted), Outcome::Answered(outputs)) => {
            outputs_differ(wanted, outputs, "right is", "answered was")
        }
        _ => difference(wanted, outcome).map(|_| format!("{outcome} where {wanted} is right")),
    }
}
