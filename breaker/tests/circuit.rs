//! What must hold of a circuit, whatever its calls do.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::time::Duration;

use dspex_breaker::{Cause, Circuit, CircuitConfig, CircuitState, Permit, Phase};
use proptest::prelude::*;
use tokio::time::Instant;

const OPEN_FOR: Duration = Duration::from_secs(60);

fn circuit() -> Circuit {
    Circuit::new("candidate", CircuitConfig::default()).unwrap()
}

fn fail(circuit: &Circuit, now: Instant, times: u32) {
    for _ in 0..times {
        circuit.try_permit(now).unwrap().failure(now);
    }
}

fn succeed(circuit: &Circuit, now: Instant, times: u32) {
    for _ in 0..times {
        circuit.try_permit(now).unwrap().success(now);
    }
}

/// An open circuit, and the moment at which its probes begin.
fn tripped() -> (Circuit, Instant) {
    let (circuit, now) = (circuit(), Instant::now());
    fail(&circuit, now, 5);
    (circuit, now + OPEN_FOR)
}

fn last_cause(circuit: &Circuit) -> Cause {
    circuit.transitions().last().expect("it changed").cause
}

#[test]
fn failures_in_a_row_open_it() {
    let (circuit, now) = (circuit(), Instant::now());
    succeed(&circuit, now, 100);
    fail(&circuit, now, 4);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    fail(&circuit, now, 1);
    assert_eq!(
        circuit.state(now),
        CircuitState::Open {
            until: now + OPEN_FOR
        }
    );
    assert_eq!(last_cause(&circuit), Cause::ConsecutiveFailures(5));

    let later = now + Duration::from_secs(20);
    let refused = circuit.try_permit(later).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(40));
    assert!(refused.to_string().contains("candidate"), "{refused}");
}

#[test]
fn a_success_between_them_breaks_a_row() {
    let (circuit, now) = (circuit(), Instant::now());
    succeed(&circuit, now, 20);
    for _ in 0..4 {
        fail(&circuit, now, 4);
        succeed(&circuit, now, 4);
    }
    assert_eq!(circuit.state(now), CircuitState::Closed);
}

#[test]
fn a_rate_opens_it_once_there_are_enough_calls() {
    let (circuit, now) = (circuit(), Instant::now());
    succeed(&circuit, now, 2);
    fail(&circuit, now, 2);
    assert_eq!(
        circuit.state(now),
        CircuitState::Closed,
        "half of four calls failed"
    );
    fail(&circuit, now, 1);
    assert_eq!(
        last_cause(&circuit),
        Cause::FailureRate {
            failures: 3,
            calls: 5
        }
    );
}

#[test]
fn failures_leave_the_window() {
    let (circuit, now) = (circuit(), Instant::now());
    fail(&circuit, now, 3);
    let later = now + Duration::from_secs(61);
    succeed(&circuit, later, 4);
    fail(&circuit, later, 1);
    assert_eq!(circuit.state(later), CircuitState::Closed);
}

#[test]
fn neutral_calls_say_nothing() {
    let (circuit, now) = (circuit(), Instant::now());
    fail(&circuit, now, 4);
    for _ in 0..100 {
        circuit.try_permit(now).unwrap().neutral();
    }
    assert_eq!(circuit.state(now), CircuitState::Closed);
    fail(&circuit, now, 1);
    assert_eq!(
        circuit.state(now).phase(),
        Phase::Open,
        "neutral calls do not break a row"
    );
}

#[test]
fn probes_are_limited_and_close_it() {
    let (circuit, now) = tripped();
    assert_eq!(circuit.state(now), CircuitState::HalfOpen);
    let probes: Vec<Permit> = (0..3).map(|_| circuit.try_permit(now).unwrap()).collect();
    let refused = circuit.try_permit(now).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(1));
    for probe in probes {
        assert_eq!(circuit.state(now), CircuitState::HalfOpen);
        probe.success(now);
    }
    assert_eq!(circuit.state(now), CircuitState::Closed);
    assert_eq!(last_cause(&circuit), Cause::ProbesSucceeded(3));
    // What was held against it before is forgotten.
    fail(&circuit, now, 4);
    assert_eq!(circuit.state(now), CircuitState::Closed);
}

#[test]
fn a_failed_probe_opens_it_again() {
    let (circuit, now) = tripped();
    succeed(&circuit, now, 2);
    let other = circuit.try_permit(now).unwrap();
    fail(&circuit, now, 1);
    assert_eq!(
        circuit.state(now),
        CircuitState::Open {
            until: now + OPEN_FOR
        }
    );
    assert_eq!(last_cause(&circuit), Cause::ProbeFailed);
    // A probe of the former phase says nothing about the next one.
    let later = now + OPEN_FOR;
    succeed(&circuit, later, 2);
    other.failure(later);
    assert_eq!(circuit.state(later), CircuitState::HalfOpen);
    succeed(&circuit, later, 1);
    assert_eq!(circuit.state(later), CircuitState::Closed);
}

#[test]
fn a_lost_permit_gives_its_place_back() {
    let (circuit, now) = tripped();
    for _ in 0..100 {
        drop(circuit.try_permit(now).unwrap());
    }
    assert_eq!(circuit.state(now), CircuitState::HalfOpen);
}

#[test]
fn a_late_answer_from_before_it_opened_fails_no_probe() {
    let (circuit, now) = (circuit(), Instant::now());
    let late = circuit.try_permit(now).unwrap();
    fail(&circuit, now, 5);
    let later = now + OPEN_FOR;
    succeed(&circuit, later, 1);
    late.failure(later);
    assert_eq!(circuit.state(later), CircuitState::HalfOpen);
}

#[test]
fn switched_off_it_permits_everything() {
    let (circuit, _) = tripped();
    let now = Instant::now();
    assert!(circuit.try_permit(now).is_err());
    circuit.set_enabled(false);
    assert_eq!(last_cause(&circuit), Cause::SwitchedOff);
    fail(&circuit, now, 100);
    assert_eq!(circuit.state(now), CircuitState::Closed);

    let from_before = circuit.try_permit(now).unwrap();
    circuit.set_enabled(true);
    assert!(circuit.is_enabled());
    fail(&circuit, now, 4);
    from_before.failure(now);
    assert_eq!(circuit.state(now), CircuitState::Closed, "it began anew");
    fail(&circuit, now, 1);
    assert_eq!(circuit.state(now).phase(), Phase::Open);
}

#[test]
fn a_clone_is_the_same_circuit() {
    let (one, now) = (circuit(), Instant::now());
    let other = one.clone();
    fail(&one, now, 5);
    assert!(other.try_permit(now).is_err());
    assert_eq!(other.name(), "candidate");
}

#[test]
fn the_history_is_bounded_and_numbered() {
    let (circuit, mut now) = tripped();
    for _ in 0..50 {
        fail(&circuit, now, 1);
        now += OPEN_FOR;
    }
    let history = circuit.transitions();
    assert_eq!(history.len(), 32);
    assert_eq!(history.last().unwrap().number, 101);
    for pair in history.windows(2) {
        assert_eq!(pair[0].number + 1, pair[1].number);
        assert_eq!(pair[0].to, pair[1].from);
    }
}

#[test]
fn threads_never_get_more_than_the_permitted_probes() {
    use std::sync::Barrier;

    for _ in 0..50 {
        let (circuit, now) = tripped();
        let (start, all_asked) = (Barrier::new(8), Barrier::new(8));
        let granted: usize = std::thread::scope(|scope| {
            let asks: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let permit = circuit.try_permit(now);
                        all_asked.wait();
                        permit.is_ok()
                    })
                })
                .collect();
            asks.into_iter()
                .map(|ask| usize::from(ask.join().unwrap()))
                .sum()
        });
        assert_eq!(granted, 3);
        assert!(
            circuit.try_permit(now).is_ok(),
            "dropped permits gave their places back"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Ask,
    Succeed(usize),
    Fail(usize),
    Drop(usize),
    Wait(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Ask),
        2 => (0..20_usize).prop_map(Step::Succeed),
        3 => (0..20_usize).prop_map(Step::Fail),
        1 => (0..20_usize).prop_map(Step::Drop),
        2 => (0..5_000_u64).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..300)) {
        let config = CircuitConfig {
            open_for: Duration::from_secs(3),
            window: Duration::from_secs(10),
            half_open_max: 2,
            consecutive_failures: 3,
            ..CircuitConfig::default()
        };
        let circuit = Circuit::new("any", config.clone()).unwrap();
        let mut now = Instant::now();
        // Each permit with the number of the phase in which it was given.
        let mut permits: Vec<(u64, Permit)> = Vec::new();
        let mut seen = Vec::new();
        for step in steps {
            let take = |at: usize, permits: &mut Vec<(u64, Permit)>| {
                (!permits.is_empty()).then(|| permits.swap_remove(at % permits.len()).1)
            };
            match step {
                Step::Ask => {
                    let before = circuit.state(now);
                    let asked = circuit.try_permit(now);
                    match (before, &asked) {
                        (CircuitState::Closed, asked) => prop_assert!(asked.is_ok()),
                        (CircuitState::Open { until }, Ok(_)) => {
                            prop_assert!(false, "a call passed {:?} early", until - now);
                        }
                        (CircuitState::Open { until }, Err(refused)) => {
                            prop_assert_eq!(refused.retry_after, until - now);
                            prop_assert!(refused.retry_after <= config.open_for);
                        }
                        (CircuitState::HalfOpen, asked) => {
                            let phase = circuit.transitions().last().unwrap().number;
                            let probes = permits.iter().filter(|(of, _)| *of == phase).count();
                            prop_assert_eq!(asked.is_ok(), probes < 2, "{} under way", probes);
                        }
                    }
                    let phase = circuit.transitions().last().map_or(0, |last| last.number);
                    permits.extend(asked.ok().map(|permit| (phase, permit)));
                }
                Step::Succeed(at) => if let Some(permit) = take(at, &mut permits) {
                    permit.success(now);
                },
                Step::Fail(at) => if let Some(permit) = take(at, &mut permits) {
                    permit.failure(now);
                },
                Step::Drop(at) => drop(take(at, &mut permits)),
                Step::Wait(time) => now += time,
            }
            let new = seen.last().map_or(0, |last: &dspex_breaker::Transition| last.number);
            seen.extend(circuit.transitions().into_iter().filter(|each| each.number > new));
        }

        let mut phase = Phase::Closed;
        for (index, transition) in seen.iter().enumerate() {
            prop_assert_eq!(transition.number, index as u64 + 1);
            prop_assert_eq!(transition.from, phase);
            let legal = matches!(
                (transition.from, transition.to),
                (Phase::Closed, Phase::Open)
                    | (Phase::Open, Phase::HalfOpen)
                    | (Phase::HalfOpen, Phase::Open | Phase::Closed)
            );
            prop_assert!(legal, "{transition:?}");
            phase = transition.to;
        }
        // However it got there, it cannot be stuck.
        permits.clear();
        now += config.open_for;
        prop_assert!(circuit.try_permit(now).is_ok());
    }
}
