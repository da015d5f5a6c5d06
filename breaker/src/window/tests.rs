//! The windows against models that keep every call.

use std::time::Duration;

use proptest::prelude::*;

use crate::window::{Counts, Seen, Window};

const SPAN: u64 = 1_000;
const BUCKETS: u64 = 10;
const WIDTH: u64 = SPAN / BUCKETS;

fn call(failed: bool, slow: bool) -> Seen {
    Seen { failed, slow }
}

fn time_window() -> Window {
    Window::new(Duration::from_nanos(SPAN), None)
}

/// A call as a model keeps it.
#[derive(Debug, Clone, Copy)]
struct Kept {
    term: u64,
    at: u64,
    seen: Seen,
}

fn sum<'a>(calls: impl Iterator<Item = &'a Kept>) -> Counts {
    calls.fold(Counts::default(), |sum, kept| Counts {
        calls: sum.calls + 1,
        failures: sum.failures + u64::from(kept.seen.failed),
        slow: sum.slow + u64::from(kept.seen.slow),
    })
}

fn steps() -> impl Strategy<Value = Vec<(u64, bool, bool, bool)>> {
    let after = prop_oneof![0..20_u64, 0..150_u64, 0..3_000_u64];
    let new_term = prop::bool::weighted(0.02);
    prop::collection::vec((after, any::<bool>(), any::<bool>(), new_term), 1..300)
}

proptest! {
    #[test]
    fn time_windows_count_what_a_list_of_all_calls_would(steps in steps()) {
        let window = time_window();
        let (mut now, mut term) = (0, 0);
        let mut calls: Vec<Kept> = Vec::new();
        for (after, failed, slow, new_term) in steps {
            now += after;
            term += u64::from(new_term);
            let seen = call(failed, slow);
            window.record(term, now, seen, || true);
            calls.push(Kept { term, at: now, seen });
            let counted = window.counts(term, now);
            let of_term = || calls.iter().filter(|kept| kept.term == term);
            let in_ring = |kept: &&Kept| kept.at / WIDTH + BUCKETS > now / WIDTH;
            prop_assert_eq!(counted, sum(of_term().filter(in_ring)));
            // And, without speaking of buckets: nothing older than the span, all of the span but
            // its oldest bucket.
            let whole = sum(of_term().filter(|kept| now - kept.at < SPAN));
            let least = sum(of_term().filter(|kept| now - kept.at <= SPAN - WIDTH));
            prop_assert!(counted.calls <= whole.calls && counted.calls >= least.calls);
        }
    }

    #[test]
    fn count_windows_hold_the_last_calls(size in 1..50_u32, steps in steps()) {
        let window = Window::new(Duration::from_secs(1), Some(size));
        let mut term = 0;
        let mut calls: Vec<Kept> = Vec::new();
        for (at, failed, slow, new_term) in steps {
            term += u64::from(new_term);
            let seen = call(failed, slow);
            window.record(term, at, seen, || true);
            calls.push(Kept { term, at, seen });
            let last = calls.iter().rev().take(size as usize);
            prop_assert_eq!(window.counts(term, at), sum(last.filter(|kept| kept.term == term)));
        }
    }
}

#[test]
fn time_that_runs_backwards_loses_no_call() {
    let window = time_window();
    window.record(0, SPAN, call(true, false), || true);
    window.record(0, 0, call(false, false), || true);
    let both = Counts {
        calls: 2,
        failures: 1,
        slow: 0,
    };
    assert_eq!(window.counts(0, SPAN), both);
    assert_eq!(window.counts(0, SPAN * 2), Counts::default());
}

#[test]
fn a_call_of_a_term_that_has_passed_is_left_out() {
    for window in [time_window(), Window::new(Duration::from_secs(1), Some(4))] {
        window.record(7, 5, call(false, false), || true);
        window.record(6, 5, call(true, false), || false);
        assert_eq!(window.counts(7, 5).failures, 0, "{window:?}");
        assert_eq!(window.counts(7, 5).calls, 1, "{window:?}");
    }
}

#[test]
fn threads_lose_no_call() {
    let window = time_window();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let window = &window;
            scope.spawn(move || {
                for turn in 0..10_000_u64 {
                    // All in one ring, from bucket to bucket.
                    let at = turn * (SPAN - 1) / 10_000;
                    window.record(0, at, call(thread % 2 == 0, false), || true);
                }
            });
        }
    });
    let counted = window.counts(0, SPAN - 1);
    assert_eq!((counted.calls, counted.failures), (40_000, 20_000));
}
