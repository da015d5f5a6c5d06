//! Differences kept whole, so that they can be looked at and run again.
//!
//! Invariants: bounded in number, and each by what a copy may be large; where one has to go, it is
//! the oldest of the program that has the most, so a talkative program does not push out the rest.
//! They are callers' data: kept in memory alone, and gone with the process.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use dspex_pool::{ProgramId, ProgramKey};
use dspex_telemetry::Lane;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::compare::Difference;

/// One call that the two lanes answered differently.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// Counts up while the process lives.
    pub id: u64,
    /// When it was found.
    pub at: Timestamp,
    /// Which program, and which version of it.
    pub program: ProgramKey,
    /// The caller's request.
    pub request_id: String,
    /// The lane whose answer the caller has.
    pub answered_by: Lane,
    /// What was asked.
    pub inputs: Arc<Map<String, Value>>,
    /// What stable answered.
    pub stable: Map<String, Value>,
    /// What the candidate answered; none where it failed, or answered more than is kept.
    pub candidate: Option<Map<String, Value>>,
    /// What is different, by which rule.
    pub differences: Vec<Difference>,
}

/// A case, without inputs and outputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseSummary {
    /// As in [`Case::id`].
    pub id: u64,
    /// When it was found.
    pub at: Timestamp,
    /// Which program, and which version of it.
    pub program: ProgramKey,
    /// The caller's request.
    pub request_id: String,
    /// The lane whose answer the caller has.
    pub answered_by: Lane,
    /// How many differences there are.
    pub differences: usize,
    /// The first of them.
    pub first: Option<Difference>,
}

impl Case {
    /// The case without inputs and outputs.
    #[must_use]
    pub fn summary(&self) -> CaseSummary {
        CaseSummary {
            id: self.id,
            at: self.at,
            program: self.program.clone(),
            request_id: self.request_id.clone(),
            answered_by: self.answered_by,
            differences: self.differences.len(),
            first: self.differences.first().cloned(),
        }
    }
}

/// The cases that are kept, oldest first.
#[derive(Debug, Default)]
pub(super) struct Cases {
    kept: VecDeque<Arc<Case>>,
    last: u64,
}

impl Cases {
    /// Keeps a case under a new number, and at most `most` of them.
    pub(super) fn keep(&mut self, case: Case, most: usize) {
        if most == 0 {
            return;
        }
        self.last += 1;
        let id = self.last;
        self.kept.push_back(Arc::new(Case { id, ..case }));
        while self.kept.len() > most {
            self.drop_one();
        }
    }

    fn drop_one(&mut self) {
        let mut of: HashMap<&ProgramId, usize> = HashMap::new();
        for case in &self.kept {
            *of.entry(&case.program.id).or_default() += 1;
        }
        let most = of.values().copied().max().unwrap_or(0);
        let oldest = self
            .kept
            .iter()
            .position(|case| of.get(&case.program.id) == Some(&most));
        if let Some(oldest) = oldest {
            self.kept.remove(oldest);
        }
    }

    /// The newest first.
    pub(super) fn newest(&self, program: Option<&ProgramId>, limit: usize) -> Vec<Arc<Case>> {
        let newest = self.kept.iter().rev();
        newest
            .filter(|case| program.is_none_or(|program| case.program.id == *program))
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Case>> {
        self.kept.iter().find(|case| case.id == id).cloned()
    }

    pub(super) fn forget(&mut self, program: &ProgramId) {
        self.kept.retain(|case| case.program.id != *program);
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(program: &str) -> Case {
        Case {
            id: 0,
            at: Timestamp::UNIX_EPOCH,
            program: ProgramKey {
                id: program.parse().unwrap(),
                version: 1,
            },
            request_id: "r".to_owned(),
            answered_by: Lane::Stable,
            inputs: Arc::default(),
            stable: Map::new(),
            candidate: None,
            differences: Vec::new(),
        }
    }

    #[test]
    fn a_talkative_program_does_not_push_out_the_others() {
        let mut cases = Cases::default();
        cases.keep(case("quiet"), 10);
        for _ in 0..100 {
            cases.keep(case("loud"), 10);
        }
        assert_eq!(cases.len(), 10);
        let quiet = cases.newest(Some(&"quiet".parse().unwrap()), 10);
        assert_eq!(quiet[0].id, 1);
        assert_eq!(cases.newest(None, 1)[0].id, 101);
        assert!(cases.get(50).is_none() && cases.get(95).is_some());
        cases.keep(case("loud"), 0);
        assert_eq!(cases.newest(None, 1)[0].id, 101, "0 keeps none");
    }
}
