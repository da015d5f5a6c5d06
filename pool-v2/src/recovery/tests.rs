//! The decision tree, the ejection budget, and the pace of starts.

use dspex_breaker::CircuitState;
use proptest::prelude::*;
use proptest::strategy::Strategy;
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const WELL: Workers = Workers {
    size: 4,
    ready: 4,
    in_service: true,
};

const FRESH: Attempt = Attempt {
    repeatable: true,
    started: true,
    repeated: 0,
    remaining: Duration::from_secs(60),
};

fn after(failure: Failure, workers: Workers, call: Option<Attempt>) -> Act {
    decide(&RecoveryConfig::default(), failure, workers, call, 0)
}

#[test]
fn a_worker_that_ended_is_replaced_and_its_call_is_sent_to_another_once() {
    let act = after(Failure::Exited, WELL, Some(FRESH));
    assert_eq!(act.worker, WorkerAct::Replace);
    assert_eq!(act.call, CallAct::Elsewhere(Duration::ZERO));
    let again = Attempt {
        repeated: 1,
        ..FRESH
    };
    assert_eq!(
        after(Failure::Exited, WELL, Some(again)).call,
        CallAct::Fail,
        "a call that ends workers does not get a third"
    );
    let once_only = Attempt {
        repeatable: false,
        ..FRESH
    };
    assert_eq!(
        after(Failure::Exited, WELL, Some(once_only)).call,
        CallAct::Fail
    );
    let never_began = Attempt {
        started: false,
        ..once_only
    };
    let act = after(Failure::Exited, WELL, Some(never_began));
    assert_eq!(act.call, CallAct::Elsewhere(Duration::ZERO));
    let last_one = Workers {
        size: 4,
        ready: 1,
        in_service: true,
    };
    assert_eq!(
        after(Failure::Exited, last_one, None).worker,
        WorkerAct::Replace,
        "what is gone is gone"
    );
}

#[test]
fn a_health_check_degrades_and_the_third_replaces() {
    let acts: Vec<WorkerAct> = (1..=4)
        .map(|in_a_row| after(Failure::HealthCheck { in_a_row }, WELL, None).worker)
        .collect();
    use WorkerAct::{Degrade, Replace};
    assert_eq!(acts, [Degrade, Degrade, Replace, Replace]);
}

#[test]
fn a_suspect_serves_on_where_too_few_are_ready() {
    let few = Workers {
        size: 4,
        ready: 2,
        in_service: true,
    };
    let check = |in_a_row| Failure::HealthCheck { in_a_row };
    let act = after(check(1), few, None);
    assert_eq!(act.worker, WorkerAct::LastChoice);
    assert_eq!(
        act.reason,
        "it did not answer a health check, but serves when nobody else can: of the others 1 are \
         ready, and 2 must be"
    );
    assert_eq!(
        after(check(3), few, None).worker,
        WorkerAct::ReplaceWhenWarm
    );
    // It is degraded already, so that taking it away takes nothing from those in service.
    let out_of_service = Workers {
        in_service: false,
        ..few
    };
    assert_eq!(
        after(check(3), out_of_service, None).worker,
        WorkerAct::Replace
    );
    let alone = Workers {
        size: 1,
        ready: 1,
        in_service: true,
    };
    assert_eq!(
        after(check(3), alone, None).worker,
        WorkerAct::ReplaceWhenWarm
    );
}

#[test]
fn a_timeout_is_the_starts_or_the_calls() {
    let act = after(Failure::StartTimeout, WELL, None);
    assert_eq!((act.worker, act.call), (WorkerAct::Replace, CallAct::None));
    let act = after(Failure::CallTimeout, WELL, Some(FRESH));
    assert_eq!(act.worker, WorkerAct::Keep, "the worker is well");
    assert_eq!(act.call, CallAct::Again(SECOND));
    let at_its_end = Attempt {
        remaining: Duration::ZERO,
        ..FRESH
    };
    let act = after(Failure::CallTimeout, WELL, Some(at_its_end));
    assert_eq!(act.call, CallAct::Fail, "its caller has left");
}

#[test]
fn an_error_is_judged_by_its_class() {
    use CallAct::{Again, Elsewhere, Fail};
    use WorkerAct::{Degrade, Keep, Replace};
    let zero = Duration::ZERO;
    for (class, worker, call) in [
        (ErrorClass::Initialization, Replace, Elsewhere(zero)),
        (ErrorClass::Connection, Replace, Elsewhere(zero)),
        (ErrorClass::Communication, Replace, Elsewhere(zero)),
        (ErrorClass::Timeout, Keep, Again(SECOND)),
        (ErrorClass::Resource, Replace, Elsewhere(zero)),
        (ErrorClass::HealthCheck, Degrade, CallAct::None),
        (ErrorClass::Session, Keep, Again(zero)),
        (ErrorClass::Python, Keep, Elsewhere(zero)),
        (ErrorClass::System, Replace, Fail),
        (ErrorClass::Caller, Keep, Fail),
        (ErrorClass::Provider, Keep, Fail),
    ] {
        let act = after(Failure::Error(class), WELL, Some(FRESH));
        assert_eq!((act.worker, act.call), (worker, call), "{class}");
    }
}

#[test]
fn half_of_the_size_stays_in_service_unless_it_is_said_otherwise() {
    let default = RecoveryConfig::default();
    let least: Vec<usize> = (0..6).map(|size| default.least_ready(size)).collect();
    assert_eq!(least, [0, 1, 1, 2, 2, 3]);
    let set = RecoveryConfig {
        min_ready: Some(3),
        ..default
    };
    assert_eq!((set.least_ready(10), set.least_ready(2)), (3, 2));
}

#[test]
fn settings_that_cannot_work_are_named() {
    assert_eq!(RecoveryConfig::default().check(), Ok(()));
    let start = |start| RecoveryConfig {
        start,
        ..RecoveryConfig::default()
    };
    let wrong = [
        RecoveryConfig {
            health_failures: 0,
            ..RecoveryConfig::default()
        },
        start(StartConfig {
            spacing: Duration::ZERO,
            ..StartConfig::default()
        }),
        start(StartConfig {
            failures: 0,
            ..StartConfig::default()
        }),
        start(StartConfig {
            backoff: dspex_breaker::Backoff::linear(SECOND * 2, SECOND),
            ..StartConfig::default()
        }),
    ];
    for config in wrong {
        let error = config.check().unwrap_err();
        assert!(error.setting.starts_with("recovery"), "{error}");
    }
    let read: RecoveryConfig = serde_json::from_str(
        r#"{"min_ready":2,"start":{"spacing":"2s","backoff":{"kind":"linear","base":"2s"}}}"#,
    )
    .expect("a part is enough");
    assert_eq!((read.min_ready, read.start.spacing), (Some(2), SECOND * 2));
}

fn starts(config: StartConfig) -> Starts {
    Starts::new("v2", config).expect("valid")
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_a_worker_that_worked_does_not() {
    let config = StartConfig {
        backoff: dspex_breaker::Backoff::default(),
        failures: 100,
        ..StartConfig::default()
    };
    let starts = starts(config);
    let (mut slot, mut now) = (SlotStarts::default(), Instant::now());
    let mut waits = Vec::new();
    for _ in 0..7 {
        let permit: StartPermit = match starts.ask(&mut slot, now, 0) {
            Ok(permit) => permit,
            Err(wait) => {
                waits.push(wait.after().as_secs());
                now += wait.after();
                starts.ask(&mut slot, now, 0).expect("it has waited")
            }
        };
        permit.failed(&mut slot, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30]);
    now += SECOND * 30;
    let permit = starts.ask(&mut slot, now, 0).expect("it has waited");
    assert_eq!(permit.began(), now);
    assert!(starts.has_settled(Duration::ZERO, 1) && starts.has_settled(SECOND * 10, 0));
    assert!(!starts.has_settled(SECOND * 9, 0));
    permit.settled(&mut slot, now);
    assert_eq!(slot.failed_in_a_row(), 0);
    let wait = starts.ask(&mut slot, now, 0).unwrap_err();
    assert_eq!(wait, MayNotStart::Slot { after: SECOND });
    assert!(starts.ask(&mut slot, now + SECOND, 0).is_ok(), "at once");
}

#[test]
fn starts_that_fail_all_over_the_pool_open_its_circuit() {
    let config = StartConfig {
        failures: 4,
        ..StartConfig::default()
    };
    let (starts, now) = (starts(config), Instant::now());
    let mut slots = [SlotStarts::default(); 5];
    for slot in &mut slots[..4] {
        let permit = starts.ask(slot, now, 0).expect("closed");
        permit.failed(slot, now);
    }
    assert!(matches!(
        starts.circuit().state(now),
        CircuitState::Open { .. }
    ));
    let refused = starts.ask(&mut slots[4], now, 0).unwrap_err();
    let after = SECOND * 30;
    assert_eq!(refused, MayNotStart::Pool { after });
    let later = now + after;
    let probe = starts.ask(&mut slots[4], later, 0).expect("a probe");
    assert!(
        matches!(
            starts.ask(&mut slots[0], later, 0),
            Err(MayNotStart::Pool { .. })
        ),
        "one at a time"
    );
    probe.settled(&mut slots[4], later);
    assert!(starts.ask(&mut slots[0], later, 0).is_ok());
}

/// When a worker gets calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Always,
    Last,
    Never,
}

fn failures() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Failure::Exited),
        (1..6_u32).prop_map(|in_a_row| Failure::HealthCheck { in_a_row }),
        Just(Failure::StartTimeout),
        Just(Failure::CallTimeout),
        (0..ErrorClass::ALL.len()).prop_map(|class| Failure::Error(ErrorClass::ALL[class])),
    ]
}

fn attempts() -> impl Strategy<Value = Option<Attempt>> {
    let attempt = (any::<bool>(), any::<bool>(), 0..8_u32, 0..90_000_u64);
    prop::option::of(
        attempt.prop_map(|(repeatable, started, repeated, ms)| Attempt {
            repeatable,
            started,
            repeated,
            remaining: Duration::from_millis(ms),
        }),
    )
}

proptest! {
    #[test]
    fn suspicion_never_takes_a_pool_below_its_least(
        size in 1..40_usize,
        min_ready in prop::option::of(0..50_usize),
        checks in prop::collection::vec((any::<prop::sample::Index>(), 1..5_u32), 1..200),
    ) {
        let config = RecoveryConfig { min_ready, ..RecoveryConfig::default() };
        let mut workers = vec![Serves::Always; size];
        let count = |workers: &[Serves], serves| {
            workers.iter().filter(|worker| **worker == serves).count()
        };
        for (which, in_a_row) in checks {
            let which = which.index(size);
            let seen = Workers {
                size,
                ready: count(&workers, Serves::Always),
                in_service: workers[which] == Serves::Always,
            };
            let act = decide(&config, Failure::HealthCheck { in_a_row }, seen, None, 0);
            workers[which] = match (act.worker, workers[which]) {
                (_, Serves::Never) | (WorkerAct::Degrade | WorkerAct::Replace, _) => Serves::Never,
                (WorkerAct::LastChoice | WorkerAct::ReplaceWhenWarm, _) => Serves::Last,
                (WorkerAct::Keep, _) => panic!("a failed check is never nothing"),
            };
            prop_assert_eq!(
                in_a_row >= config.health_failures,
                matches!(act.worker, WorkerAct::Replace | WorkerAct::ReplaceWhenWarm)
            );
            let left = count(&workers, Serves::Always) + count(&workers, Serves::Last);
            prop_assert!(left >= config.least_ready(size));
        }
    }

    #[test]
    fn a_call_is_repeated_only_where_it_may_be_and_in_time(
        failure in failures(), call in attempts(), random in any::<u64>(),
    ) {
        let config = RecoveryConfig::default();
        let act = decide(&config, failure, WELL, call, random);
        prop_assert!(!act.reason.is_empty());
        let Some(call) = call else {
            prop_assert_eq!(act.call, CallAct::None);
            return Ok(());
        };
        if let CallAct::Again(wait) | CallAct::Elsewhere(wait) = act.call {
            prop_assert!(call.repeatable || !call.started);
            prop_assert!(wait < call.remaining);
            prop_assert!(call.repeated < 5, "no class allows more");
        }
        if act.worker == WorkerAct::Replace && !matches!(failure, Failure::HealthCheck { .. }) {
            prop_assert!(!matches!(act.call, CallAct::Again(_)), "not to the one that is lost");
        }
    }

    #[test]
    fn a_slot_never_starts_two_within_the_spacing(
        asks in prop::collection::vec((0..3_000_u64, any::<bool>(), any::<u64>()), 1..200),
    ) {
        let config = StartConfig::default();
        let (spacing, starts) = (config.spacing, starts(config));
        let (mut slot, mut now) = (SlotStarts::default(), Instant::now());
        let mut last: Option<Instant> = None;
        for (ms, well, random) in asks {
            now += Duration::from_millis(ms);
            match starts.ask(&mut slot, now, random) {
                Ok(permit) => {
                    prop_assert!(last.is_none_or(|last| now - last >= spacing));
                    last = Some(now);
                    if well {
                        permit.settled(&mut slot, now);
                    } else {
                        permit.failed(&mut slot, now);
                    }
                }
                Err(wait) => {
                    prop_assert!(!wait.after().is_zero());
                    prop_assert!(wait.after() <= SECOND * 30, "the cap of both");
                }
            }
        }
    }
}
