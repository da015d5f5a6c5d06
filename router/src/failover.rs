//! Whether stable answers a call that the candidate failed, and what time it is left.
//!
//! Invariants: a call that must not be repeated and may have run is never sent again; a call is
//! sent again once, and only while its caller waits; what is decided here is pure.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dspex_pool::{Fault, PoolError};

/// How long a program needs on stable, as far as that was seen: the longest of late, shrinking
/// with every call that took less.
#[derive(Debug, Default)]
pub(crate) struct Need(AtomicU64);

impl Need {
    pub(crate) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }

    /// Stable answered within this time.
    pub(crate) fn answered(&self, took: Duration) {
        // Two calls that end together may lose one of two lessons: either is true.
        let need = self.0.load(Relaxed);
        self.0.store(micros(took).max(need - need / 16), Relaxed);
    }

    /// Stable did not answer within this time.
    pub(crate) fn outlasted(&self, given: Duration) {
        self.0.fetch_max(micros(given), Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time that the candidate has out of `left`.
///
/// A call that could not go to stable anyway has all of it. So has a call whose program would not
/// finish on stable in what the candidate's share leaves: to cut it would fail a call that the
/// candidate may well answer, and win nothing.
pub(crate) fn candidate_time(
    left: Duration,
    share: f64,
    repeatable: bool,
    need: Duration,
) -> Duration {
    let given = left.mul_f64(share).min(left);
    if repeatable && need < left - given {
        given
    } else {
        left
    }
}

/// Whether stable may answer a call that the candidate failed with `error`.
///
/// `cut` says that the candidate had less than all of the call's time, `streamed` that the caller
/// has a part of the answer: another answer's parts must not follow.
pub(crate) fn may_ask_stable(
    error: &PoolError,
    repeatable: bool,
    cut: bool,
    streamed: bool,
) -> bool {
    match error {
        _ if streamed => false,
        // Never started: the candidate cannot build what stable has built.
        PoolError::Rejected { .. } => true,
        PoolError::ProgramTimeout { .. } => cut && repeatable,
        _ => error.fault() == Fault::Pool && (repeatable || !error.may_have_started()),
    }
}

/// Whether stable may be asked once more after `error`: a worker was lost under the call, and the
/// call may be repeated. Where no worker was free, another try would only lengthen the queue.
/// `streamed` as in [`may_ask_stable`].
pub(crate) fn may_ask_again(error: &PoolError, repeatable: bool, streamed: bool) -> bool {
    repeatable && !streamed && error.fault() == Fault::Pool && error.may_have_started()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::classify::tests::every_error;

    #[test]
    fn a_call_that_may_have_run_and_must_not_be_repeated_is_never_sent_again() {
        for error in every_error() {
            for cut in [false, true] {
                let again = may_ask_stable(&error, false, cut, false);
                let never_started = matches!(
                    error,
                    PoolError::Rejected { .. }
                        | PoolError::Exhausted { .. }
                        | PoolError::Unavailable { .. }
                        | PoolError::Draining
                );
                assert_eq!(again, never_started, "{error:?}");
            }
        }
    }

    #[test]
    fn faults_of_callers_providers_and_programs_are_answered_as_they_are() {
        for error in every_error() {
            let again = may_ask_stable(&error, true, false, false);
            let candidates_fault =
                error.fault() == Fault::Pool || matches!(error, PoolError::Rejected { .. });
            assert_eq!(again, candidates_fault, "{error:?}");
        }
        let timeout = PoolError::ProgramTimeout {
            after: Duration::ZERO,
        };
        assert!(may_ask_stable(&timeout, true, true, false));
    }

    #[test]
    fn stable_is_asked_again_only_where_a_worker_was_lost() {
        for error in every_error() {
            let lost = matches!(
                error,
                PoolError::Crashed { .. } | PoolError::Hung { .. } | PoolError::Protocol { .. }
            );
            assert_eq!(may_ask_again(&error, true, false), lost, "{error:?}");
            assert!(!may_ask_again(&error, false, false), "{error:?}");
        }
    }

    #[test]
    fn a_call_of_which_a_part_was_sent_is_never_sent_again() {
        for error in every_error() {
            for (repeatable, cut) in [(true, true), (true, false), (false, true)] {
                assert!(!may_ask_stable(&error, repeatable, cut, true), "{error:?}");
                assert!(!may_ask_again(&error, repeatable, true), "{error:?}");
            }
        }
    }

    #[test]
    fn need_follows_the_slowest_call_of_late() {
        let need = Need::default();
        need.answered(Duration::from_secs(40));
        assert_eq!(need.get(), Duration::from_secs(40));
        need.answered(Duration::from_secs(1));
        assert_eq!(need.get(), Duration::from_millis(37_500));
        for _ in 0..100 {
            need.answered(Duration::from_secs(1));
        }
        assert_eq!(need.get(), Duration::from_secs(1));
        need.outlasted(Duration::from_secs(30));
        assert_eq!(need.get(), Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn a_cut_leaves_stable_the_time_that_the_program_needs(
            left in 1_u64..10_000_000,
            share in 0.001_f64..0.999,
            need in 0_u64..20_000_000,
            repeatable: bool,
        ) {
            let (left, need) = (Duration::from_micros(left), Duration::from_micros(need));
            let given = candidate_time(left, share, repeatable, need);
            prop_assert!(given <= left);
            if given < left {
                prop_assert!(repeatable);
                prop_assert!(left - given > need);
            }
            if !repeatable {
                prop_assert_eq!(given, left);
            }
        }
    }
}
