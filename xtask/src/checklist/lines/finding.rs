//! What was found for a line, and what it takes to tick it.
//!
//! Invariant: only a [`Finding`] that asks for a person's word can be signed; what a machine could
//! judge, and has no evidence for, stays open whoever signs.

use std::time::Duration;

use serde::Serialize;

use super::super::ago;
use super::super::evidence::{Found, Server};

/// Whether a line may be ticked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::checklist) enum Verdict {
    Passed,
    /// There is no evidence, or none that counts.
    Open,
    Failed,
}

/// Where a piece of evidence lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::checklist) struct Place {
    pub(in crate::checklist) place: String,
    /// How old it is, for people.
    pub(in crate::checklist) age: Option<String>,
}

/// What was found for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::checklist) struct Finding {
    pub(in crate::checklist) verdict: Verdict,
    pub(in crate::checklist) value: String,
    pub(in crate::checklist) limit: String,
    /// All that it was judged by.
    pub(in crate::checklist) evidence: Vec<Place>,
    /// All that is open is what no machine can judge: a named person's signature stands for it.
    pub(in crate::checklist) signable: bool,
}

impl Finding {
    /// Measured: it holds or it does not.
    pub(super) fn measured(
        holds: bool,
        value: impl Into<String>,
        limit: impl Into<String>,
    ) -> Self {
        let verdict = if holds {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        Self::new(verdict, value, limit)
    }

    /// Not known, with what would make it known.
    pub(super) fn open(value: impl Into<String>, needs: impl Into<String>) -> Self {
        Self::new(Verdict::Open, value, needs)
    }

    /// What no machine can judge: what there is to look at, and what a person is to say of it.
    pub(super) fn asks(value: impl Into<String>, whether: &str) -> Self {
        Self {
            signable: true,
            ..Self::open(value, format!("{whether}: a named person's signature"))
        }
    }

    fn new(verdict: Verdict, value: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            verdict,
            value: value.into(),
            limit: limit.into(),
            evidence: Vec::new(),
            signable: false,
        }
    }

    /// With a piece of evidence beside those that it has.
    pub(super) fn from(self, place: impl Into<String>, age: Option<Duration>) -> Self {
        let place = Place {
            place: place.into(),
            age: age.map(ago),
        };
        self.with([place])
    }

    fn with(mut self, places: impl IntoIterator<Item = Place>) -> Self {
        for place in places {
            if !self.evidence.contains(&place) {
                self.evidence.push(place);
            }
        }
        self
    }

    pub(super) fn in_found(self, found: &Found) -> Self {
        self.from(found.place.clone(), found.age)
    }

    /// Of what a running server says of this moment.
    pub(super) fn live(self, server: &Server, path: &str) -> Self {
        self.from(format!("{}{path}", server.url), Some(Duration::ZERO))
            .of_server(server)
    }

    /// A server of another commit ticks nothing, and one that has not told all is told with what is open.
    pub(super) fn of_server(mut self, server: &Server) -> Self {
        if self.verdict == Verdict::Open && !server.refused.is_empty() {
            self.value = format!("{}; refused: {}", self.value, server.refused.join(", "));
        }
        if let Some(foreign) = &server.foreign {
            self.value = format!("{}; {foreign}", self.value);
            self.signable = false;
            self.verdict = self.verdict.max(Verdict::Open);
        }
        self
    }

    /// Both must hold: told with the worse one's verdict, both values, and the evidence of both.
    pub(super) fn and(self, other: Self) -> Self {
        let signable = [&self, &other]
            .iter()
            .all(|one| one.verdict == Verdict::Passed || one.signable)
            && (self.signable || other.signable);
        let (value, limit) = (
            format!("{}; {}", self.value, other.value),
            format!("{}; {}", self.limit, other.limit),
        );
        let evidence = self.evidence.clone();
        let others = other.evidence.clone();
        let leads = if other.verdict > self.verdict {
            other
        } else {
            self
        };
        Self {
            value,
            limit,
            signable,
            evidence,
            ..leads
        }
        .with(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_of_both_is_told_once_each() {
        let measured = |places: &[(&str, u64)]| {
            let places = places.iter();
            places.fold(
                Finding::measured(true, "v", "l"),
                |finding, (place, age)| finding.from(*place, Some(Duration::from_secs(*age))),
            )
        };
        let both = measured(&[("a", 60), ("b", 5)]).and(measured(&[("c", 7_200), ("a", 60)]));
        let told: Vec<(&str, Option<&str>)> = both
            .evidence
            .iter()
            .map(|place| (place.place.as_str(), place.age.as_deref()))
            .collect();
        assert_eq!(
            told,
            [("a", Some("1 min")), ("b", Some("5 s")), ("c", Some("2 h"))]
        );
    }

    #[test]
    fn the_worse_of_two_is_told_and_a_signature_stands_for_a_persons_part_alone() {
        let passed = || Finding::measured(true, "well", "limit");
        let failed = || Finding::measured(false, "ill", "limit");
        let open = || Finding::open("nothing", "a run");
        let asks = || Finding::asks("this", "whether it is well");
        let cases = [
            (passed(), passed(), Verdict::Passed, false),
            (passed(), asks(), Verdict::Open, true),
            (asks(), asks(), Verdict::Open, true),
            (asks(), open(), Verdict::Open, false),
            (open(), passed(), Verdict::Open, false),
            (asks(), failed(), Verdict::Failed, false),
            (failed(), open(), Verdict::Failed, false),
        ];
        for (one, other, verdict, signable) in cases {
            let (ways, other_way) = (one.clone().and(other.clone()), other.and(one));
            for both in [ways, other_way] {
                assert_eq!(
                    (both.verdict, both.signable),
                    (verdict, signable),
                    "{both:?}"
                );
            }
        }
    }
}
