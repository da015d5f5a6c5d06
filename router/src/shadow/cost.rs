//! What copies may cost: so many in any minute, and so many tokens.
//!
//! Invariant: in no stretch of sixty seconds are there more copies than the cap, and none is begun
//! while the tokens of the last minute are used up. Pure: time is handed in.

use std::time::Duration;

use dspex_pool::Reply;
use serde_json::{Map, Value};
use tokio::time::Instant;

/// One slot a second, and one more: slots are whole seconds, so sixty cover a second too little.
const SLOTS: usize = 61;

/// What was used in each of the last seconds.
#[derive(Debug)]
struct Minute {
    slots: [u64; SLOTS],
    /// The newest second there is a slot for.
    newest: u64,
}

impl Minute {
    fn new() -> Self {
        Self {
            slots: [0; SLOTS],
            newest: 0,
        }
    }

    /// What was used in the minute up to this second.
    fn used(&mut self, second: u64) -> u64 {
        let passed = second.saturating_sub(self.newest).min(SLOTS as u64);
        for ahead in 1..=passed {
            self.slots[place(self.newest + ahead)] = 0;
        }
        self.newest = self.newest.max(second);
        if passed == SLOTS as u64 {
            self.slots = [0; SLOTS];
        }
        self.slots
            .iter()
            .fold(0, |sum, used| sum.saturating_add(*used))
    }

    fn add(&mut self, amount: u64) {
        let slot = &mut self.slots[place(self.newest)];
        *slot = slot.saturating_add(amount);
    }

    /// Takes back what was added in this second; nothing where its slot is another's by now.
    fn take_away(&mut self, amount: u64, second: u64) {
        if self.newest.saturating_sub(second) < SLOTS as u64 {
            let slot = &mut self.slots[place(second)];
            *slot = slot.saturating_sub(amount);
        }
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SLOTS as u64).unwrap_or(0)
}

/// The cap, and what was used of it.
#[derive(Debug)]
pub(super) struct Cost {
    begun: Instant,
    calls_per_minute: u64,
    /// None for no limit.
    tokens_per_minute: Option<u64>,
    calls: Minute,
    tokens: Minute,
}

impl Cost {
    pub(super) fn new(calls_per_minute: u64, tokens_per_minute: u64, now: Instant) -> Self {
        Self {
            begun: now,
            calls_per_minute,
            tokens_per_minute: Some(tokens_per_minute).filter(|limit| *limit > 0),
            calls: Minute::new(),
            tokens: Minute::new(),
        }
    }

    /// Takes room for one copy that is expected to use so many tokens; false where there is none.
    pub(super) fn take(&mut self, expected_tokens: u64, now: Instant) -> bool {
        let second = self.second(now);
        let tokens = self.tokens.used(second).saturating_add(expected_tokens);
        // A single copy beyond the whole cap is refused for good, and not let through once a minute.
        let dear = self.tokens_per_minute.is_some_and(|limit| tokens > limit);
        if dear || self.calls.used(second) >= self.calls_per_minute {
            return false;
        }
        self.calls.add(1);
        self.tokens.add(expected_tokens);
        true
    }

    /// Gives back what [`Cost::take`] took at this moment, for a copy that is not made after all.
    pub(super) fn give_back(&mut self, expected_tokens: u64, now: Instant) {
        let second = self.second(now);
        self.calls.used(second);
        self.tokens.used(second);
        self.calls.take_away(1, second);
        self.tokens.take_away(expected_tokens, second);
    }

    /// A copy used more tokens than was expected.
    pub(super) fn used_more(&mut self, tokens: u64, now: Instant) {
        let second = self.second(now);
        self.tokens.used(second);
        self.tokens.add(tokens);
    }

    /// Copies and tokens of the last minute.
    pub(super) fn used(&mut self, now: Instant) -> (u64, u64) {
        let second = self.second(now);
        (self.calls.used(second), self.tokens.used(second))
    }

    fn second(&self, now: Instant) -> u64 {
        let since: Duration = now.saturating_duration_since(self.begun);
        since.as_secs()
    }
}

/// The tokens that an answer cost: what its worker counted, else what the program itself says.
pub(super) fn tokens(reply: &Reply) -> u64 {
    match &reply.usage {
        Some(usage) => usage.total_tokens,
        None => said(&reply.outputs),
    }
}

/// The tokens that outputs say: `usage.total_tokens`, or those of each model under `usage`, as DSPy
/// tells them.
fn said(outputs: &Map<String, Value>) -> u64 {
    let Some(usage) = outputs.get("usage").and_then(Value::as_object) else {
        return 0;
    };
    let total = |of: &Map<String, Value>| of.get("total_tokens").and_then(Value::as_u64);
    total(usage).unwrap_or_else(|| {
        let models = usage.values().filter_map(Value::as_object);
        models
            .filter_map(total)
            .fold(0, |sum, tokens| sum.saturating_add(tokens))
    })
}

#[cfg(test)]
mod tests {
    use dspex_pool::Usage;
    use dspex_pool::testing::FakePool;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_found_where_answers_say_them() {
        let tokens = |answer: Value| tokens(&FakePool::reply(&answer));
        assert_eq!(tokens(json!({"usage": {"total_tokens": 7}})), 7);
        let models = json!({"usage": {"a": {"total_tokens": 7}, "b": {"total_tokens": 5}, "c": 3}});
        assert_eq!(tokens(models), 12);
        for silent in [
            json!({}),
            json!({"usage": "many"}),
            json!({"usage": {"total_tokens": -1}}),
        ] {
            assert_eq!(tokens(silent), 0);
        }
    }

    #[test]
    fn what_the_worker_counted_goes_before_what_the_outputs_say() {
        let usage = Usage {
            prompt_tokens: 30,
            completion_tokens: 12,
            total_tokens: 42,
        };
        let counted = |outputs| Reply {
            usage: Some(usage),
            ..FakePool::reply(&outputs)
        };
        assert_eq!(tokens(&counted(json!({"answer": "Paris"}))), 42);
        assert_eq!(tokens(&counted(json!({"usage": {"total_tokens": 7}}))), 42);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_bound_the_copies_of_a_minute() {
        let begun = Instant::now();
        let mut cost = Cost::new(100, 50, begun);
        assert!(!cost.take(51, begun), "one copy beyond the whole cap");
        assert!(cost.take(30, begun));
        assert!(!cost.take(30, begun));
        cost.used_more(15, begun);
        assert!(!cost.take(10, begun));
        assert!(cost.take(5, begun));
        assert_eq!(cost.used(begun), (2, 50));
        cost.give_back(5, begun);
        assert_eq!(cost.used(begun), (1, 45));
        assert!(cost.take(5, begun));
        assert!(cost.take(30, begun + Duration::from_secs(61)));
        cost.give_back(5, begun);
        let used = cost.used(begun + Duration::from_secs(61));
        assert_eq!(used, (1, 30), "that second is over");
        let mut free = Cost::new(100, 0, begun);
        assert!(free.take(u64::MAX, begun) && free.take(u64::MAX, begun));
    }

    proptest! {
        #[test]
        fn no_minute_has_more_copies_than_the_cap(
            cap in 1_u64..20,
            pauses in prop::collection::vec(0_u64..30_000, 1..200),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let begun = { let _in = runtime.enter(); Instant::now() };
            let mut cost = Cost::new(cap, 0, begun);
            let (mut now, mut taken) = (begun, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if cost.take(0, now) {
                    taken.push(now);
                }
            }
            for (at, begin) in taken.iter().enumerate() {
                let end = *begin + Duration::from_secs(60);
                let within = taken[at..].iter().filter(|other| **other <= end).count() as u64;
                prop_assert!(within <= cap, "{within} within a minute, {cap} allowed");
            }
        }
    }
}
