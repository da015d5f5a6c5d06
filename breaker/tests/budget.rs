//! What must hold of a retry budget, and of retries that draw from it.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dspex_breaker::{
    Backoff, BudgetConfig, Classified, Draw, ErrorClass, Exhausted, Matrix, Retry, RetryBudget,
    Rule,
};
use proptest::prelude::*;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(10);

fn budget(share: f64, minimum_per_second: f64) -> RetryBudget {
    RetryBudget::new(BudgetConfig {
        share,
        minimum_per_second,
        window: WINDOW,
        kept_for_callers: 0.5,
    })
    .unwrap()
}

fn draw_all(budget: &RetryBudget, draw: Draw, now: Instant) -> u32 {
    let mut drawn = 0;
    while budget.withdraw(draw, now).is_ok() {
        drawn += 1;
    }
    drawn
}

#[test]
fn it_holds_its_share_of_the_calls_and_its_minimum() {
    let (budget, now) = (budget(0.2, 1.0), Instant::now());
    assert_eq!(draw_all(&budget, Draw::Retry, now), 10, "without any calls");
    for _ in 0..100 {
        budget.deposit(now);
    }
    assert_eq!(draw_all(&budget, Draw::Failover, now), 20);
    assert_eq!(
        budget.withdraw(Draw::Retry, now),
        Err(Exhausted(Draw::Retry))
    );
    let figures = budget.figures(now);
    assert_eq!((figures.calls, figures.drawn, figures.left), (100, 30, 0));
    assert_eq!(figures.granted, [10, 20, 0, 0]);
    assert_eq!(figures.refused, [2, 1, 0, 0]);
    // What is past does not count, in either direction.
    assert_eq!(draw_all(&budget, Draw::Retry, now + WINDOW * 2), 10);
}

#[test]
fn copies_leave_a_part_for_those_who_wait_for_an_answer() {
    let (budget, now) = (budget(0.0, 10.0), Instant::now());
    assert_eq!(draw_all(&budget, Draw::Shadow, now), 50);
    assert_eq!(draw_all(&budget, Draw::Hedge, now), 0);
    assert_eq!(draw_all(&budget, Draw::Failover, now), 50);
}

#[test]
fn an_empty_budget_holds_nothing() {
    let (budget, now) = (budget(0.0, 0.0), Instant::now());
    budget.deposit(now);
    for draw in Draw::ALL {
        assert_eq!(budget.withdraw(draw, now), Err(Exhausted(draw)));
    }
}

#[test]
fn threads_never_draw_more_than_there_is() {
    let (budget, now) = (budget(0.0, 100.0), Instant::now());
    let granted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    if budget.withdraw(Draw::Retry, now).is_ok() {
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(granted.into_inner(), 1_000);
    let figures = budget.figures(now);
    assert_eq!((figures.granted[0], figures.refused[0]), (1_000, 3_000));
}

#[test]
fn settings_are_checked() {
    let read = |json| serde_json::from_str::<BudgetConfig>(json).map_err(|e| e.to_string());
    assert_eq!(read("{}").unwrap(), BudgetConfig::default());
    for (json, reason) in [
        (r#"{"share":-0.1}"#, "share is -0.1"),
        (r#"{"minimum_per_second":1e9}"#, "minimum_per_second is"),
        (r#"{"kept_for_callers":2}"#, "kept_for_callers is 2"),
        (
            r#"{"window":"1ms"}"#,
            "window is 1ms: it must be 100ms to 1h",
        ),
        (r#"{"shares":1}"#, "unknown field"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(reason), "{json}: {error}");
    }
}

proptest! {
    #[test]
    fn no_draw_is_granted_beyond_what_the_calls_allow(
        steps in prop::collection::vec((0..2_000_u64, 0..4_u32, 0..4_u32), 1..200),
        share in 0.0..2.0_f64,
        minimum in 0.0..3.0_f64,
    ) {
        let budget = budget(share, minimum);
        let begun = Instant::now();
        let mut now = begun;
        let (mut calls, mut drawn): (Vec<Instant>, Vec<Instant>) = (Vec::new(), Vec::new());
        for (after, deposits, draws) in steps {
            now += Duration::from_millis(after);
            for _ in 0..deposits {
                budget.deposit(now);
                calls.push(now);
            }
            let within = |all: &[Instant], back: Duration| {
                all.iter().filter(|at| now - **at <= back).count() as f64
            };
            for _ in 0..draws {
                if budget.withdraw(Draw::Retry, now).is_err() {
                    continue;
                }
                drawn.push(now);
                // The budget's windows are between nine tenths of one and a whole one.
                let most = within(&calls, WINDOW) * share + minimum * WINDOW.as_secs_f64();
                let least = WINDOW.mul_f64(0.9) - Duration::from_millis(1);
                prop_assert!(within(&drawn, least) <= most + 1e-9);
            }
        }
    }
}

fn judge(class: &ErrorClass) -> Classified {
    Classified::of(*class)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_as_often_as_it_may_be() {
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(30));
    let retry = Retry::new(3, backoff).unwrap();
    let far = Instant::now() + Duration::from_secs(3_600);
    let matrix = Matrix::default();
    let generous = budget(1.0, 10.0);
    let attempts = Cell::new(0_u32);
    let run = async |budget: &RetryBudget, class, good_after, deadline| {
        attempts.set(0);
        let call = async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() > good_after {
                Ok(attempts.get())
            } else {
                Err(class)
            }
        };
        retry.run(budget, &matrix, &judge, deadline, call).await
    };
    let begun = Instant::now();
    assert_eq!(run(&generous, ErrorClass::Connection, 2, far).await, Ok(3));
    assert_eq!(begun.elapsed(), Duration::from_secs(3), "1 s and 2 s");
    // The waits of the retry, whatever the matrix has for those who follow it alone.
    let slow = Rule {
        backoff: Backoff::custom([Duration::from_secs(60)]),
        ..matrix.lookup(ErrorClass::Connection).clone()
    };
    let slow = Matrix::default().with(ErrorClass::Connection, slow);
    let begun = Instant::now();
    let call = async || Err::<(), _>(ErrorClass::Connection);
    let failed = retry.run(&generous, &slow, &judge, far, call).await;
    assert!(failed.is_err() && begun.elapsed() == Duration::from_secs(3));
    let never = u32::MAX;
    let failed = run(&generous, ErrorClass::Connection, never, far).await;
    assert_eq!((failed, attempts.get()), (Err(ErrorClass::Connection), 3));
    // Neither what no retry makes right, nor without budget, nor past the deadline.
    for (budget, class, deadline) in [
        (&generous, ErrorClass::Caller, far),
        (&budget(0.0, 0.0), ErrorClass::Connection, far),
        (
            &generous,
            ErrorClass::Connection,
            Instant::now() + Duration::from_millis(500),
        ),
    ] {
        assert!(run(budget, class, never, deadline).await.is_err());
        assert_eq!(attempts.get(), 1, "{class}");
    }
}

#[test]
fn a_retry_without_attempts_is_refused() {
    assert!(Retry::new(0, Backoff::None).is_err());
    assert_eq!(Retry::default().attempts(), 3);
}
