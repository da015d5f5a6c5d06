//! The decision tree, the ejection budget, and the pace of starts.

use dspex_breaker::CircuitState;
use proptest::prelude::*;
use tokio::time::Instant;

use std::time::Duration;

use super::starts::MayNotStart;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

const WELL: Workers = Workers {
    size: 4,
    ready: 4,
    in_service: true,
};

fn after(failure: Failure, workers: Workers) -> Act {
    decide(&RecoveryConfig::default(), failure, workers)
}

#[test]
fn a_health_check_degrades_and_the_third_replaces() {
    let acts: Vec<WorkerAct> = (1..=4)
        .map(|in_a_row| after(Failure::HealthCheck { in_a_row }, WELL).worker)
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
    let act = after(check(1), few);
    assert_eq!(act.worker, WorkerAct::LastChoice);
    assert_eq!(
        act.reason,
        "it did not answer a health check, but serves when nobody else can: of the others 1 are \
         ready, and 2 must be"
    );
    assert_eq!(after(check(3), few).worker, WorkerAct::ReplaceWhenWarm);
    // It is degraded already, so that taking it away takes nothing from those in service.
    let out_of_service = Workers {
        in_service: false,
        ..few
    };
    assert_eq!(after(check(3), out_of_service).worker, WorkerAct::Replace);
    let alone = Workers {
        size: 1,
        ready: 1,
        in_service: true,
    };
    assert_eq!(after(check(3), alone).worker, WorkerAct::ReplaceWhenWarm);
}

#[test]
fn an_error_is_judged_by_its_class() {
    use WorkerAct::{Degrade, Keep, ReplaceWhenWarm};
    for (class, worker) in [
        (ErrorClass::Initialization, ReplaceWhenWarm),
        (ErrorClass::Connection, ReplaceWhenWarm),
        (ErrorClass::Communication, ReplaceWhenWarm),
        (ErrorClass::Timeout, Keep),
        (ErrorClass::Resource, ReplaceWhenWarm),
        (ErrorClass::HealthCheck, Degrade),
        (ErrorClass::Session, Keep),
        (ErrorClass::Python, Keep),
        (ErrorClass::System, ReplaceWhenWarm),
        (ErrorClass::Caller, Keep),
        (ErrorClass::Provider, Keep),
    ] {
        assert_eq!(after(Failure::Error(class), WELL).worker, worker, "{class}");
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
    assert!(starts.has_settled(Duration::ZERO, 1) && starts.has_settled(SECOND * 10, 0));
    assert!(!starts.has_settled(SECOND * 9, 0));
    permit.settled(&mut slot, now);
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
    let after = SECOND * 10;
    assert_eq!(refused, MayNotStart::Pool { after });
    let own_turn = starts.ask(&mut slots[0], now, 0).unwrap_err();
    assert!(matches!(own_turn, MayNotStart::Slot { .. }));
    assert_eq!(
        starts.none_for(own_turn, now),
        Some(after),
        "whoever says it"
    );
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
            let act = decide(&config, Failure::HealthCheck { in_a_row }, seen);
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
