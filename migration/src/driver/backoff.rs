//! When an act that failed may be begun again.
//!
//! Invariant: only the act that failed waits. What a person asks for in between is done at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::lever::Act;

/// How long until something that failed is tried again, at first.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a step waits at most.
const STEP_AT_MOST: Duration = Duration::from_secs(30);

/// How long at least until a webhook is asked again: whoever is behind it may be a person.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// How long at most until a webhook is asked again, and until the old pool is made cold.
const AT_MOST: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Default)]
pub(crate) struct Backoff {
    failed: Option<Failed>,
}

struct Failed {
    act: Act,
    wait: Duration,
    until: Instant,
}

impl Backoff {
    /// The act has failed. Answers when it may be begun again.
    pub(crate) fn failed(&mut self, act: Act, interval: Duration, now: Instant) -> Instant {
        let (first, most) = waits(act, interval);
        let wait = match &self.failed {
            Some(failed) if failed.act == act => (failed.wait * 2).min(most),
            _ => first,
        };
        let until = now + wait;
        self.failed = Some(Failed { act, wait, until });
        until
    }

    /// The act has succeeded.
    pub(crate) fn succeeded(&mut self, act: Act) {
        self.failed.take_if(|failed| failed.act == act);
    }

    /// Whether the act is to be left alone for now.
    pub(crate) fn waits(&self, act: Act, now: Instant) -> bool {
        self.failed
            .as_ref()
            .is_some_and(|failed| failed.act == act && now < failed.until)
    }
}

/// How long an act waits at first and at most.
fn waits(act: Act, interval: Duration) -> (Duration, Duration) {
    let soon = AGAIN.min(interval);
    match act {
        // Traffic is where it should not be: no patience.
        Act::Raise { .. } | Act::Zero | Act::Demote | Act::Withdraw => (soon, soon),
        Act::Step(_) => (soon, STEP_AT_MOST),
        Act::Ask { .. } => (ASK_AGAIN.max(interval), AT_MOST.max(interval)),
        Act::Rest => (soon, AT_MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Step;

    #[tokio::test(start_paused = true)]
    async fn each_failure_waits_longer_and_nothing_else_waits() {
        let (ask, step) = (Act::Ask { stage: 0 }, Act::Step(Step::Archive));
        let interval = Duration::from_secs(5);
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let waits: Vec<u64> = (0..7)
            .map(|_| (backoff.failed(ask, interval, now) - now).as_secs())
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert!(backoff.waits(ask, now + Duration::from_secs(299)));
        assert!(!backoff.waits(ask, now + Duration::from_secs(300)));
        assert!(!backoff.waits(step, now));
        backoff.succeeded(step);
        assert!(backoff.waits(ask, now));
        backoff.succeeded(ask);
        assert!(!backoff.waits(ask, now));
        let again = backoff.failed(Act::Zero, interval, now);
        assert_eq!(again, backoff.failed(Act::Zero, interval, now));
    }
}
