//! Modes, slow calls, windows of calls, open times, events, and calls in one piece.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::time::Duration;

use dspex_breaker::{
    CallError, Cause, Circuit, CircuitConfig, CircuitEvent, CircuitState, Classified, ErrorClass,
    Mode, Phase,
};
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const OPEN_FOR: Duration = Duration::from_secs(60);

fn circuit(config: CircuitConfig) -> (Circuit, Instant) {
    (Circuit::new("callee", config).unwrap(), Instant::now())
}

fn call(circuit: &Circuit, at: Instant, took: Duration, failed: bool) {
    let permit = circuit.try_permit(at).unwrap();
    if failed {
        permit.failure(at + took);
    } else {
        permit.success(at + took);
    }
}

fn fail(circuit: &Circuit, now: Instant, times: u32) {
    for _ in 0..times {
        call(circuit, now, Duration::ZERO, true);
    }
}

fn last_cause(circuit: &Circuit) -> Cause {
    circuit.transitions().last().expect("it changed").cause
}

#[test]
fn slow_calls_open_it_though_they_succeed() {
    let config = CircuitConfig {
        slow_call: SECOND,
        slow_call_rate: Some(0.5),
        ..CircuitConfig::default()
    };
    let (circuit, now) = circuit(config);
    for _ in 0..3 {
        call(&circuit, now, SECOND / 2, false);
    }
    for _ in 0..2 {
        call(&circuit, now, SECOND, false);
    }
    assert_eq!(circuit.state(now), CircuitState::Closed);
    call(&circuit, now, SECOND * 2, false);
    assert_eq!(
        last_cause(&circuit),
        Cause::SlowCallRate { slow: 3, calls: 6 }
    );
    // A probe must be quick too.
    let later = now + OPEN_FOR + SECOND * 2;
    call(&circuit, later, SECOND, false);
    assert_eq!(last_cause(&circuit), Cause::ProbeSlow);
}

#[test]
fn without_a_rate_slow_calls_are_like_others() {
    let (circuit, now) = circuit(CircuitConfig {
        slow_call: SECOND,
        ..CircuitConfig::default()
    });
    for _ in 0..100 {
        call(&circuit, now, SECOND * 100, false);
    }
    assert_eq!(circuit.state(now), CircuitState::Closed);
    assert_eq!(circuit.counts(now).slow, 0);
}

#[test]
fn a_window_of_calls_looks_back_by_calls_and_not_by_time() {
    let config = CircuitConfig {
        window_calls: Some(10),
        consecutive_failures: 100,
        ..CircuitConfig::default()
    };
    let (circuit, now) = circuit(config);
    let years = Duration::from_secs(86_400 * 365);
    fail(&circuit, now, 4);
    call(&circuit, now + years, Duration::ZERO, true);
    assert_eq!(
        last_cause(&circuit),
        Cause::FailureRate {
            failures: 5,
            calls: 5
        }
    );
}

#[test]
fn it_stays_open_longer_each_time_its_probes_fail() {
    let config = CircuitConfig {
        open_growth: 2.0,
        open_max: OPEN_FOR * 3,
        close_after: 1,
        ..CircuitConfig::default()
    };
    let (circuit, mut now) = circuit(config);
    fail(&circuit, now, 5);
    for factor in [1, 2, 3, 3] {
        let until = now + OPEN_FOR * factor;
        assert_eq!(circuit.state(now), CircuitState::Open { until });
        assert!(
            circuit
                .try_permit(until - Duration::from_millis(1))
                .is_err()
        );
        now = until;
        fail(&circuit, now, 1);
    }
    // Once it was closed it begins anew.
    now += OPEN_FOR * 3;
    call(&circuit, now, Duration::ZERO, false);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    fail(&circuit, now, 5);
    let until = now + OPEN_FOR;
    assert_eq!(circuit.state(now), CircuitState::Open { until });
}

#[test]
fn chance_takes_its_share_of_the_open_time() {
    let config = CircuitConfig {
        open_jitter: 0.5,
        ..CircuitConfig::default()
    };
    let mut waits = Vec::new();
    for _ in 0..50 {
        let (circuit, now) = circuit(config.clone());
        fail(&circuit, now, 5);
        let CircuitState::Open { until } = circuit.state(now) else {
            panic!("five failures open it")
        };
        let wait = until - now;
        assert!(wait > OPEN_FOR / 2 && wait <= OPEN_FOR, "{wait:?}");
        waits.push(wait);
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 1, "every circuit has the same chance");
}

#[test]
fn probes_that_hang_do_not_hold_it_half_open_for_ever() {
    let config = CircuitConfig {
        half_open_max_wait: SECOND * 10,
        ..CircuitConfig::default()
    };
    let (circuit, now) = circuit(config);
    fail(&circuit, now, 5);
    let now = now + OPEN_FOR;
    let hung: Vec<_> = (0..3).map(|_| circuit.try_permit(now).unwrap()).collect();
    assert!(circuit.try_permit(now + SECOND * 9).is_err());
    assert_eq!(circuit.state(now), CircuitState::HalfOpen);
    let later = now + SECOND * 10;
    assert_eq!(circuit.try_permit(later).unwrap_err().retry_after, OPEN_FOR);
    assert_eq!(last_cause(&circuit), Cause::ProbesTookTooLong);
    // Their places are free in the next round, and what they say then is of a round that is over.
    let next = later + OPEN_FOR;
    let probes: Vec<_> = (0..3).map(|_| circuit.try_permit(next).unwrap()).collect();
    for late in hung {
        late.failure(next);
    }
    assert!(circuit.try_permit(next).is_err(), "three are under way");
    for probe in probes {
        probe.success(next);
    }
    assert_eq!(circuit.state(next), CircuitState::Closed);
}

#[test]
fn an_idle_half_open_circuit_waits_for_its_next_probe() {
    let (circuit, now) = circuit(CircuitConfig::default());
    fail(&circuit, now, 5);
    let now = now + OPEN_FOR;
    call(&circuit, now, Duration::ZERO, false);
    let much_later = now + OPEN_FOR * 60;
    assert_eq!(circuit.state(much_later), CircuitState::HalfOpen);
    assert!(circuit.try_permit(much_later).is_ok());
}

#[test]
fn forced_open_it_refuses_until_a_person_says_otherwise() {
    let (circuit, now) = circuit(CircuitConfig::default());
    circuit.set_mode(Mode::ForcedOpen);
    assert_eq!(circuit.state(now).phase(), Phase::Open);
    let years = now + Duration::from_secs(86_400 * 300);
    assert!(circuit.try_permit(years).is_err());
    assert_eq!(last_cause(&circuit), Cause::ModeSet(Mode::ForcedOpen));
    // The switch that flags move does not undo what a person did.
    circuit.set_enabled(true);
    assert_eq!(circuit.mode(), Mode::ForcedOpen);
    circuit.set_mode(Mode::Automatic);
    assert!(circuit.try_permit(now).is_ok());
    assert_eq!(circuit.state(now), CircuitState::Closed);
}

#[test]
fn metrics_only_counts_and_never_opens() {
    let (circuit, now) = circuit(CircuitConfig::default());
    circuit.set_mode(Mode::MetricsOnly);
    fail(&circuit, now, 50);
    assert_eq!(circuit.state(now), CircuitState::Closed);
    assert_eq!(circuit.counts(now).failures, 50);
    assert_eq!(circuit.failed_in_a_row(), 50);
    circuit.set_mode(Mode::Automatic);
    assert_eq!(circuit.counts(now).calls, 0, "it begins anew");
    fail(&circuit, now, 4);
    assert_eq!(circuit.state(now), CircuitState::Closed);
}

#[test]
fn told_to_it_opens_at_once() {
    let (circuit, now) = circuit(CircuitConfig::default());
    circuit.trip(now);
    circuit.trip(now + SECOND);
    let until = now + OPEN_FOR;
    assert_eq!(circuit.state(now), CircuitState::Open { until });
    assert_eq!(last_cause(&circuit), Cause::Tripped);
    assert_eq!(circuit.transitions().len(), 1);
    circuit.set_mode(Mode::MetricsOnly);
    circuit.trip(now);
    assert!(circuit.try_permit(now).is_ok());
}

#[test]
fn subscribers_see_every_change_in_order() {
    let (circuit, now) = circuit(CircuitConfig::default());
    let mut events = circuit.subscribe();
    fail(&circuit, now, 5);
    drop(circuit.try_permit(now + OPEN_FOR).unwrap());
    circuit.set_mode(Mode::Disabled);
    let mut seen = Vec::new();
    loop {
        match events.try_recv() {
            Ok(CircuitEvent::Changed(change)) => {
                seen.push(format!(
                    "{}: {} → {}",
                    change.number, change.from, change.to
                ));
            }
            Ok(CircuitEvent::ModeSet(mode)) => seen.push(mode.to_string()),
            Ok(_) => panic!("an event that this test does not know"),
            Err(TryRecvError::Empty) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let expected = [
        "1: closed → open",
        "2: open → half_open",
        "disabled",
        "3: half_open → closed",
    ];
    assert_eq!(seen, expected);
}

#[derive(Debug, PartialEq)]
enum Fault {
    Mine,
    Callee,
}

fn judge(fault: &Fault) -> Classified {
    Classified::of(match fault {
        Fault::Mine => ErrorClass::Caller,
        Fault::Callee => ErrorClass::Connection,
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_in_one_piece_reports_for_itself() {
    let (circuit, _) = circuit(CircuitConfig::default());
    let answer = circuit.call(&judge, async || Ok::<_, Fault>(7)).await;
    assert_eq!(answer, Ok(7));
    for _ in 0..100 {
        let mine = circuit
            .call(&judge, async || Err::<(), _>(Fault::Mine))
            .await;
        assert_eq!(mine, Err(CallError::Failed(Fault::Mine)));
    }
    assert_eq!(circuit.counts(Instant::now()).calls, 1);
    // Four of five failed.
    for _ in 0..4 {
        let failed = circuit
            .call(&judge, async || Err::<(), _>(Fault::Callee))
            .await;
        assert_eq!(failed.unwrap_err().into_failed(), Some(Fault::Callee));
    }
    let refused = circuit.call(&judge, async || Ok::<_, Fault>(7)).await;
    assert!(matches!(refused, Err(CallError::Refused(_))));

    // A call that is cancelled as a probe gives its place back.
    tokio::time::advance(OPEN_FOR).await;
    for _ in 0..10 {
        let never = circuit.call(&judge, std::future::pending::<Result<(), Fault>>);
        let cut = tokio::time::timeout(Duration::from_millis(1), never).await;
        assert!(cut.is_err(), "it passed the circuit and hung");
    }
}
