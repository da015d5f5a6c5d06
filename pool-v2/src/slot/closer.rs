//! Whether a worker is looked at closely, and what its silence then means.
//!
//! Invariants: one that had answered is asked twice before it is condemned, for on a busy machine one
//! that is well may be silent once (unless one failed health check condemns); and it has that grace
//! once, until it answers again.

use dspex_pool::Liveness;

use crate::dispatcher::Summons;

/// How close the look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Closer {
    /// It is well, as far as is known.
    #[default]
    No,
    /// A call's deadline has passed on it, and it answered, or at least computed: it is asked twice.
    Twice,
    /// It was silent already, or only computed: its next silence condemns it.
    Once,
}

impl Closer {
    pub(super) fn called(&mut self, summons: &Summons) {
        *self = match (summons, *self) {
            (Summons::Suspect, _) => Self::Once,
            (Summons::Look, Self::No) => Self::Twice,
            // Another call's deadline brings no second grace.
            (Summons::Look | Summons::Replace(_), as_before) => as_before,
        };
    }

    /// What a closer look has found: whether the worker is silent for good.
    pub(super) fn found(&mut self, liveness: Liveness) -> bool {
        let before = *self;
        *self = match liveness {
            Liveness::Answers => Self::No,
            // What only computes may have left a frame open: that shows when it is done.
            Liveness::Computes => before,
            Liveness::Silent => Self::Once,
        };
        liveness == Liveness::Silent && before != Self::Twice
    }

    /// A health check was answered by computing alone.
    pub(super) fn only_computed(&mut self) {
        if *self == Self::No {
            *self = Self::Once;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(summons: &Summons) -> Closer {
        let mut closer = Closer::No;
        closer.called(summons);
        closer
    }

    #[test]
    fn who_answered_when_the_deadline_passed_is_asked_once_more() {
        let mut closer = called(&Summons::Look);
        assert!(!closer.found(Liveness::Computes), "it is not silent");
        assert!(!closer.found(Liveness::Silent), "once may be chance");
        assert_ne!(closer, Closer::No, "it is still looked at");
        assert!(closer.found(Liveness::Silent));
    }

    #[test]
    fn who_did_not_answer_then_either_is_asked_once() {
        assert!(called(&Summons::Suspect).found(Liveness::Silent));
        let mut closer = called(&Summons::Look);
        closer.called(&Summons::Suspect);
        assert!(closer.found(Liveness::Silent));
        let mut computed = Closer::No;
        computed.only_computed();
        assert!(computed.found(Liveness::Silent));
    }

    #[test]
    fn the_grace_is_one_until_an_answer() {
        let mut closer = called(&Summons::Look);
        assert!(!closer.found(Liveness::Silent));
        closer.called(&Summons::Look);
        assert!(
            closer.found(Liveness::Silent),
            "another call gives no second"
        );
        let mut closer = called(&Summons::Look);
        assert!(!closer.found(Liveness::Silent));
        assert!(!closer.found(Liveness::Answers));
        assert_eq!(closer, Closer::No);
        closer.called(&Summons::Look);
        assert!(!closer.found(Liveness::Silent), "it had answered since");
    }
}
