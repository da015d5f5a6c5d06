//! The lock-free parts under loom: every order in which a few threads may run, within a bound of
//! pre-emptions.
//!
//! The files of the crate are compiled here once more, with loom's atomics and lock in place of the
//! standard library's (see `src/sync.rs`), and with a ring of two buckets.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of the crate is used, and this binary exports nothing"
)]

mod sync {
    //! Loom's side of `src/sync.rs`.

    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) const BUCKETS: usize = 2;
}

#[path = "../src/budget.rs"]
mod budget;
#[path = "../src/chance.rs"]
mod chance;
#[path = "../src/checked.rs"]
mod checked;
#[path = "../src/config.rs"]
mod config;
#[path = "../src/count_window.rs"]
mod count_window;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/machine.rs"]
mod machine;
#[path = "../src/mode.rs"]
mod mode;
#[path = "../src/rare.rs"]
mod rare;
#[path = "../src/row.rs"]
mod row;
#[path = "../src/time_window.rs"]
mod time_window;
#[path = "../src/transition.rs"]
mod transition;
#[path = "../src/window.rs"]
mod window;

use std::time::Duration;

use error::InvalidConfig;
use loom::sync::Arc;
use loom::thread;
use tokio::time::Instant;

use self::budget::{BudgetConfig, Draw, RetryBudget};
use self::config::CircuitConfig;
use self::machine::{Given, Machine, Outlook};
use self::mode::Mode;
use self::window::{Counts, Seen, Window};

const SPAN: u64 = 200;
const OPEN_FOR: Duration = Duration::from_secs(60);

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn config() -> CircuitConfig {
    CircuitConfig {
        window_calls: Some(4),
        minimum_calls: 4,
        consecutive_failures: 2,
        half_open_max: 1,
        close_after: 1,
        open_for: OPEN_FOR,
        ..CircuitConfig::default()
    }
}

/// An open circuit, and when its probes begin.
fn open(config: CircuitConfig) -> (Arc<Machine>, Instant) {
    let now = Instant::now();
    let machine = Machine::new(config, now);
    machine.trip(now);
    (Arc::new(machine), now + OPEN_FOR)
}

fn seen(failed: bool) -> Seen {
    Seen {
        failed,
        slow: false,
    }
}

#[test]
fn no_more_probes_than_permitted_are_under_way() {
    explore(|| {
        let (machine, now) = open(config());
        let ask = |machine: &Arc<Machine>| {
            let machine = Arc::clone(machine);
            thread::spawn(move || machine.permit(now).ok())
        };
        let others = [ask(&machine), ask(&machine)];
        let mine = machine.permit(now).ok();
        let granted: Vec<Given> = others
            .into_iter()
            .filter_map(|other| other.join().unwrap())
            .chain(mine)
            .collect();
        assert_eq!(granted.len(), 1);
    });
}

#[test]
fn a_lost_permit_never_sticks() {
    explore(|| {
        let (machine, now) = open(config());
        let other = Arc::clone(&machine);
        let losing = thread::spawn(move || {
            if let Ok(given) = other.permit(now) {
                other.give_back(given);
            }
        });
        if let Ok(given) = machine.permit(now) {
            machine.give_back(given);
        }
        losing.join().unwrap();
        assert_eq!(machine.outlook(now), Outlook::HalfOpen);
        assert!(machine.permit(now).is_ok());
    });
}

#[test]
fn a_probe_that_succeeds_and_one_that_is_lost_close_it_or_leave_a_place() {
    explore(|| {
        let two = CircuitConfig {
            half_open_max: 2,
            ..config()
        };
        let (machine, now) = open(two);
        let other = Arc::clone(&machine);
        let losing = thread::spawn(move || {
            if let Ok(given) = other.permit(now) {
                other.give_back(given);
            }
        });
        let probe = machine.permit(now).unwrap();
        machine.report(probe, now, now, false);
        losing.join().unwrap();
        assert_eq!(machine.outlook(now), Outlook::Closed);
        assert_eq!(machine.counts(now), Counts::default(), "it begins empty");
    });
}

#[test]
fn two_failures_at_once_open_it_once() {
    explore(|| {
        let now = Instant::now();
        let machine = Arc::new(Machine::new(config(), now));
        // With the one before, each of the two is enough.
        let first = machine.permit(now).unwrap();
        machine.report(first, now, now, true);
        let other = Arc::clone(&machine);
        let failing = thread::spawn(move || {
            let given = other.permit(now).ok();
            if let Some(given) = given {
                other.report(given, now, now, true);
            }
        });
        if let Ok(given) = machine.permit(now) {
            machine.report(given, now, now, true);
        }
        failing.join().unwrap();
        assert!(matches!(machine.outlook(now), Outlook::Open(_)));
        assert_eq!(machine.transitions().len(), 1);
    });
}

#[test]
fn a_report_never_counts_in_a_later_term() {
    explore(|| {
        let now = Instant::now();
        let machine = Arc::new(Machine::new(config(), now));
        let given = machine.permit(now).unwrap();
        let other = Arc::clone(&machine);
        let late = thread::spawn(move || other.report(given, now, now, true));
        machine.set_mode(Mode::MetricsOnly, now, |_| true);
        machine.set_mode(Mode::Automatic, now, |_| true);
        let again = machine.permit(now).unwrap();
        machine.report(again, now, now, true);
        late.join().unwrap();
        assert_eq!(machine.counts(now).failures, 1);
        assert_eq!(machine.failed_in_a_row(), 1);
    });
}

#[test]
fn a_report_never_counts_in_a_later_term_of_a_time_window() {
    explore(|| {
        let now = Instant::now();
        let timed = CircuitConfig {
            window_calls: None,
            ..config()
        };
        let machine = Arc::new(Machine::new(timed, now));
        let given = machine.permit(now).unwrap();
        let other = Arc::clone(&machine);
        let late = thread::spawn(move || other.report(given, now, now, false));
        machine.set_mode(Mode::MetricsOnly, now, |_| true);
        let again = machine.permit(now).unwrap();
        machine.report(again, now, now, false);
        late.join().unwrap();
        assert_eq!(machine.counts(now).calls, 1);
    });
}

#[test]
fn a_success_and_a_failure_at_once_leave_a_row_of_none_or_one() {
    explore(|| {
        let row = Arc::new(row::Row::new());
        assert_eq!(row.grow(0, || true), 1);
        let other = Arc::clone(&row);
        let failing = thread::spawn(move || other.grow(0, || true));
        row.end(0);
        let grown = failing.join().unwrap();
        // The failure came first and the success ended both, or the success came first.
        assert!(
            matches!((grown, row.length(0)), (2, 0) | (1, 1)),
            "grown to {grown}, left {}",
            row.length(0)
        );
    });
}

#[test]
fn a_ring_that_turns_under_its_writers_loses_and_invents_no_call() {
    explore(|| {
        let window = Arc::new(Window::new(Duration::from_nanos(SPAN), None));
        window.record(0, 0, seen(true), || true);
        let other = Arc::clone(&window);
        // The third bucket takes the place of the first.
        let writing = thread::spawn(move || other.record(0, SPAN, seen(true), || true));
        window.record(0, SPAN + 1, seen(false), || true);
        let during = window.counts(0, SPAN + 1);
        assert!(during.calls >= 1 && during.failures <= during.calls);
        writing.join().unwrap();
        let both = Counts {
            calls: 2,
            failures: 1,
            slow: 0,
        };
        assert_eq!(window.counts(0, SPAN + 1), both);
    });
}

#[test]
fn a_writer_whose_time_is_behind_counts_in_the_newest_bucket() {
    explore(|| {
        let window = Arc::new(Window::new(Duration::from_nanos(SPAN), None));
        let other = Arc::clone(&window);
        let ahead = thread::spawn(move || other.record(0, SPAN, seen(false), || true));
        window.record(0, 0, seen(false), || true);
        ahead.join().unwrap();
        // The one of time 0 was counted before the ring turned, and has left it, or after.
        let counted = window.counts(0, SPAN).calls;
        assert!((1..=2).contains(&counted), "{counted}");
        window.record(0, 0, seen(false), || true);
        assert_eq!(window.counts(0, SPAN).calls, counted + 1);
    });
}

#[test]
fn the_last_draw_of_a_budget_is_granted_once() {
    explore(|| {
        let now = Instant::now();
        let config = BudgetConfig {
            share: 1.0,
            minimum_per_second: 0.0,
            ..BudgetConfig::default()
        };
        let budget = Arc::new(RetryBudget::starting(config, now));
        budget.deposit(now);
        let other = Arc::clone(&budget);
        let drawing = thread::spawn(move || other.withdraw(Draw::Retry, now).is_ok());
        let mine = budget.withdraw(Draw::Retry, now).is_ok();
        assert!(drawing.join().unwrap() ^ mine);
    });
}
