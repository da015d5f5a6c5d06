//! What must hold of hedges: at most two attempts, one answer, and a budget.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use dspex_breaker::{Attempt, BudgetConfig, Draw, Hedge, RetryBudget};
use tokio::time::Instant;

const AFTER: Duration = Duration::from_millis(100);

/// Tells when it is dropped before it has answered.
struct Running(Rc<RefCell<Vec<Attempt>>>, Attempt, bool);

impl Running {
    fn ended(&mut self) {
        self.2 = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.2 {
            self.0.borrow_mut().push(self.1);
        }
    }
}

/// A callee whose attempts take so long, in milliseconds, and end so.
struct Callee {
    first: (u64, Result<&'static str, &'static str>),
    second: (u64, Result<&'static str, &'static str>),
    asked: Rc<RefCell<Vec<Attempt>>>,
    dropped: Rc<RefCell<Vec<Attempt>>>,
}

impl Callee {
    fn new(
        first: (u64, Result<&'static str, &'static str>),
        second: (u64, Result<&'static str, &'static str>),
    ) -> Self {
        Self {
            first,
            second,
            asked: Rc::default(),
            dropped: Rc::default(),
        }
    }

    fn call(
        &self,
        attempt: Attempt,
    ) -> impl Future<Output = Result<&'static str, &'static str>> + use<> {
        self.asked.borrow_mut().push(attempt);
        let (takes, ended) = match attempt {
            Attempt::First => self.first,
            Attempt::Hedge => self.second,
        };
        let mut running = Running(Rc::clone(&self.dropped), attempt, false);
        async move {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            running.ended();
            ended
        }
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }

    fn dropped(&self) -> Vec<Attempt> {
        self.dropped.borrow().clone()
    }
}

fn budget(minimum_per_second: f64) -> RetryBudget {
    RetryBudget::new(BudgetConfig {
        share: 0.0,
        minimum_per_second,
        ..BudgetConfig::default()
    })
    .unwrap()
}

fn hedges(budget: &RetryBudget) -> (u64, u64) {
    let figures = budget.figures(Instant::now());
    let kind = Draw::Hedge as usize;
    (figures.granted[kind], figures.refused[kind])
}

/// The answer, and after how many milliseconds.
async fn run(
    callee: &Callee,
    budget: &RetryBudget,
    repeatable: bool,
) -> (Result<&'static str, &'static str>, u128) {
    let begun = Instant::now();
    let hedge = Hedge::new(AFTER).unwrap();
    let ended = hedge
        .run(budget, repeatable, |attempt| callee.call(attempt))
        .await;
    (ended, begun.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn a_quick_call_is_made_once_and_draws_nothing() {
    for ended in [Ok("first"), Err("failed")] {
        let (callee, budget) = (Callee::new((99, ended), (0, Ok("second"))), budget(10.0));
        assert_eq!(run(&callee, &budget, true).await, (ended, 99));
        assert_eq!((callee.asked(), hedges(&budget)), (1, (0, 0)));
        assert_eq!(budget.figures(Instant::now()).calls, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_answers_first_is_taken_and_the_other_is_dropped() {
    for (first, second, answer, after, loser) in [
        (1_000, 50, "second", 150, Attempt::First),
        (200, 1_000, "first", 200, Attempt::Hedge),
        // In one moment: the one that was asked first.
        (200, 100, "first", 200, Attempt::Hedge),
    ] {
        let callee = Callee::new((first, Ok("first")), (second, Ok("second")));
        let budget = budget(10.0);
        assert_eq!(run(&callee, &budget, true).await, (Ok(answer), after));
        assert_eq!(callee.dropped(), [loser]);
        assert_eq!((callee.asked(), hedges(&budget)), (2, (1, 0)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_made_twice_is_made_once_however_long_it_takes() {
    let (callee, budget) = (
        Callee::new((5_000, Ok("first")), (0, Ok("second"))),
        budget(10.0),
    );
    assert_eq!(run(&callee, &budget, false).await, (Ok("first"), 5_000));
    assert_eq!((callee.asked(), hedges(&budget)), (1, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn without_budget_the_first_attempt_is_waited_for() {
    let (callee, budget) = (
        Callee::new((5_000, Ok("first")), (0, Ok("second"))),
        budget(0.0),
    );
    assert_eq!(run(&callee, &budget, true).await, (Ok("first"), 5_000));
    assert_eq!((callee.asked(), hedges(&budget)), (1, (0, 1)));
    assert_eq!(callee.dropped(), []);
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_the_answer_to_the_attempt_that_still_runs() {
    for (first, second, expected) in [
        ((150, Err("one")), (500, Ok("second")), (Ok("second"), 600)),
        ((700, Ok("first")), (50, Err("two")), (Ok("first"), 700)),
        ((150, Err("one")), (500, Err("two")), (Err("two"), 600)),
        ((700, Err("one")), (50, Err("two")), (Err("one"), 700)),
    ] {
        let callee = Callee::new(first, second);
        assert_eq!(run(&callee, &budget(10.0), true).await, expected);
        assert_eq!(callee.dropped(), [], "both have ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_takes_both_attempts_along() {
    let callee = Callee::new((5_000, Ok("first")), (5_000, Ok("second")));
    let budget = budget(10.0);
    let left = tokio::time::timeout(AFTER * 2, run(&callee, &budget, true)).await;
    assert!(left.is_err());
    let mut dropped = callee.dropped();
    dropped.sort_by_key(|attempt| *attempt == Attempt::Hedge);
    assert_eq!(dropped, [Attempt::First, Attempt::Hedge]);
}

#[test]
fn a_hedge_of_no_time_is_refused_however_it_is_made() {
    assert!(Hedge::new(Duration::ZERO).is_err());
    let error = serde_json::from_str::<Hedge>(r#"{"after":"0s"}"#).unwrap_err();
    assert!(error.to_string().contains("after is 0s"), "{error}");
    let hedge: Hedge = serde_json::from_str(r#"{"after":"200ms"}"#).unwrap();
    assert_eq!(hedge.after(), AFTER * 2);
    let text = serde_json::to_string(&hedge).unwrap();
    assert_eq!(serde_json::from_str::<Hedge>(&text).unwrap(), hedge);
}
