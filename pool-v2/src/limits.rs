//! How many calls one session, or one caller, has in flight, and how many it may have.
//!
//! Invariant: what was counted in is counted out once, when the worker is done with the call and
//! not when its caller leaves: a call that was given up and still runs is still a call.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use dspex_pool::PoolError;

/// How soon another try may be worthwhile. Calls of one session end as they end; a second is short
/// enough not to idle, and long enough not to hammer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a call was counted under. Copied along with its place, counted out by whoever frees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    session: Option<u64>,
    caller: Option<u64>,
}

/// Calls in flight by session and by caller, where there are limits.
#[derive(Debug)]
pub(crate) struct Limits {
    per_session: usize,
    per_caller: usize,
    keys: RandomState,
    sessions: HashMap<u64, usize>,
    callers: HashMap<u64, usize>,
}

impl Limits {
    /// 0 is no limit.
    pub(crate) fn new(per_session: usize, per_caller: usize) -> Self {
        Self {
            per_session,
            per_caller,
            keys: RandomState::new(),
            sessions: HashMap::new(),
            callers: HashMap::new(),
        }
    }

    /// Counts a call in, or says whose calls are too many.
    pub(crate) fn admit(
        &mut self,
        session: Option<&str>,
        caller: Option<&str>,
    ) -> Result<Counted, PoolError> {
        let limited = |key: Option<&str>, limit: usize| {
            key.filter(|_| limit > 0).map(|key| self.keys.hash_one(key))
        };
        let session = limited(session, self.per_session);
        let caller = limited(caller, self.per_caller);
        refuse_at("session", &self.sessions, session, self.per_session)?;
        refuse_at("caller", &self.callers, caller, self.per_caller)?;
        if let Some(session) = session {
            *self.sessions.entry(session).or_default() += 1;
        }
        if let Some(caller) = caller {
            *self.callers.entry(caller).or_default() += 1;
        }
        Ok(Counted { session, caller })
    }

    /// Counts a call out.
    pub(crate) fn release(&mut self, counted: Counted) {
        if let Some(session) = counted.session {
            take_one(&mut self.sessions, session);
        }
        if let Some(caller) = counted.caller {
            take_one(&mut self.callers, caller);
        }
    }
}

fn refuse_at(
    whose: &str,
    counts: &HashMap<u64, usize>,
    key: Option<u64>,
    limit: usize,
) -> Result<(), PoolError> {
    let there = key.and_then(|key| counts.get(&key)).copied().unwrap_or(0);
    if key.is_some() && there >= limit {
        return Err(PoolError::TooMany {
            reason: format!("this {whose} has {there} in flight, which is the limit"),
            retry_after: RETRY_AFTER,
        });
    }
    Ok(())
}

fn take_one(counts: &mut HashMap<u64, usize>, key: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            // So that the table holds only who is here.
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use dspex_pool::Fault;

    use super::*;

    #[test]
    fn a_session_and_a_caller_are_held_to_their_limits() {
        let mut limits = Limits::new(2, 3);
        let first = limits.admit(Some("s"), Some("c")).unwrap();
        let _second = limits.admit(Some("s"), Some("c")).unwrap();
        let error = limits.admit(Some("s"), Some("other")).unwrap_err();
        assert!(error.to_string().contains("this session has 2"), "{error}");
        assert_eq!(error.fault(), Fault::Caller);
        let _third = limits.admit(Some("t"), Some("c")).unwrap();
        let error = limits.admit(None, Some("c")).unwrap_err();
        assert!(error.to_string().contains("this caller has 3"), "{error}");
        limits.release(first);
        limits.admit(Some("s"), Some("c")).unwrap();
    }

    #[test]
    fn a_refused_call_counts_nowhere() {
        let mut limits = Limits::new(5, 1);
        let only = limits.admit(Some("s"), Some("c")).unwrap();
        for _ in 0..10 {
            limits.admit(Some("s"), Some("c")).unwrap_err();
        }
        limits.release(only);
        assert!(limits.sessions.is_empty() && limits.callers.is_empty());
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let mut limits = Limits::new(0, 0);
        for _ in 0..1000 {
            let counted = limits.admit(Some("s"), Some("c")).unwrap();
            assert_eq!(counted, Counted::default());
        }
        assert!(limits.sessions.is_empty() && limits.callers.is_empty());
    }
}
