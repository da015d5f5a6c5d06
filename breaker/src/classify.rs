//! What a failure means: its class, and what a circuit learns from it.
//!
//! Classification is a trait so that each crate judges its errors in one place, also errors that are
//! not its own, and everything here asks that place.

use serde::{Deserialize, Serialize};

use crate::ErrorClass;

/// What a circuit is told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The callee did its part.
    Success,
    /// The callee failed, by its own fault.
    Failure,
    /// Nothing was learnt of the callee.
    Neutral,
}

/// A failure, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Classified {
    /// Where it arose.
    pub class: ErrorClass,
    /// What a circuit is told of it.
    pub note: Note,
}

impl Classified {
    /// A failure of this class, with the note that goes with the class: nothing is learnt from a
    /// caller's fault, a callee whose provider or whose user's Python code failed has done its part,
    /// and everything else is its own fault.
    #[must_use]
    pub fn of(class: ErrorClass) -> Self {
        let note = match class {
            ErrorClass::Caller => Note::Neutral,
            ErrorClass::Provider | ErrorClass::Python => Note::Success,
            _ => Note::Failure,
        };
        Self { class, note }
    }
}

/// Judges errors of type `E`. A closure from an error to [`Classified`] is a judge too.
pub trait Classify<E: ?Sized> {
    /// What this error means.
    fn classify(&self, error: &E) -> Classified;
}

impl<E: ?Sized, F: Fn(&E) -> Classified> Classify<E> for F {
    fn classify(&self, error: &E) -> Classified {
        self(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_callees_own_faults_fail_a_circuit() {
        for class in ErrorClass::ALL {
            let expected = match class {
                ErrorClass::Caller => Note::Neutral,
                ErrorClass::Provider | ErrorClass::Python => Note::Success,
                _ => Note::Failure,
            };
            assert_eq!(Classified::of(class).note, expected, "{class}");
        }
    }

    #[test]
    fn a_closure_is_a_judge() {
        let judge = |error: &str| {
            Classified::of(if error == "bad input" {
                ErrorClass::Caller
            } else {
                ErrorClass::System
            })
        };
        assert_eq!(judge.classify("bad input").note, Note::Neutral);
        assert_eq!(judge.classify("broken").class, ErrorClass::System);
    }
}
