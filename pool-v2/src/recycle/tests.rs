//! Who is due, and who goes first.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn all() -> RecyclingConfig {
    RecyclingConfig {
        max_calls: Some(1_000),
        max_age: Some(SECOND * 3600),
        idle_ttl: Some(SECOND * 300),
        max_memory: Some(512 << 20),
        ..RecyclingConfig::default()
    }
}

fn exact() -> Limits {
    let config = RecyclingConfig {
        jitter: 0.0,
        ..all()
    };
    Limits::draw(&config, 0)
}

const SPARE: Pool = Pool {
    spare: 1,
    taken: None,
};

#[test]
fn nothing_is_due_by_default() {
    let limits = Limits::draw(&RecyclingConfig::default(), 1);
    let old = Worker {
        age: SECOND * 1_000_000,
        calls: u64::MAX,
        idle: SECOND * 1_000_000,
        memory: Some(u64::MAX),
        in_flight: 0,
    };
    assert_eq!(due(&limits, &old, &SPARE), None);
}

#[test]
fn each_limit_has_its_reason() {
    let young = Worker::default();
    assert_eq!(due(&exact(), &young, &SPARE), None);
    let cases = [
        (
            Worker {
                memory: Some(600 << 20),
                calls: 5_000,
                ..young
            },
            Cause::MaxMemory,
            "its memory is 600 MiB, limit 512 MiB",
        ),
        (
            Worker {
                calls: 1_000,
                ..young
            },
            Cause::MaxCalls,
            "it has answered 1000 calls, limit 1000",
        ),
        (
            Worker {
                age: SECOND * 3_660,
                ..young
            },
            Cause::MaxAge,
            "it is 1h 1m old, limit 1h 0m",
        ),
        (
            Worker {
                idle: SECOND * 301,
                ..young
            },
            Cause::IdleTtl,
            "it has had no call for 5m 1s, limit 5m 0s",
        ),
    ];
    for (worker, cause, reason) in cases {
        let due = due(&exact(), &worker, &SPARE).expect("due");
        assert_eq!((due.cause, due.reason.as_str()), (cause, reason));
        assert_eq!(due.cause.is_replaced(), cause != Cause::IdleTtl);
    }
}

#[test]
fn a_busy_worker_is_drained_and_never_idle() {
    let busy = Worker {
        calls: 2_000,
        in_flight: 3,
        ..Worker::default()
    };
    assert!(due(&exact(), &busy, &SPARE).expect("due").drain_first);
    let long_call = Worker {
        idle: SECOND * 900,
        in_flight: 1,
        ..Worker::default()
    };
    assert_eq!(due(&exact(), &long_call, &SPARE), None);
}

#[test]
fn the_least_size_is_kept_and_unmeasured_memory_is_not_judged() {
    let idle = Worker {
        idle: SECOND * 900,
        ..Worker::default()
    };
    assert!(due(&exact(), &idle, &SPARE).is_some());
    assert_eq!(due(&exact(), &idle, &Pool::default()), None);
}

#[test]
fn the_gravest_goes_first_and_the_idle_before_the_busy() {
    let limits = exact();
    let of = |calls, memory: u64, in_flight| Worker {
        calls,
        memory: Some(memory << 20),
        in_flight,
        ..Worker::default()
    };
    let workers = [
        of(10, 100, 0),
        of(3_000, 100, 1),
        of(2_000, 100, 0),
        of(10, 700, 4),
    ];
    let pick = |workers: &[Worker]| {
        let each = workers.iter().map(|worker| (&limits, worker));
        next(&all(), each, &SPARE, Instant::now()).map(|(index, _)| index)
    };
    assert_eq!(pick(&workers), Some(3), "memory first");
    assert_eq!(pick(&workers[..3]), Some(2), "then one that is on no call");
    assert_eq!(pick(&workers[..1]), None);
}

#[test]
fn settings_that_cannot_work_are_named() {
    assert_eq!(all().check(), Ok(()));
    let wrong = [
        RecyclingConfig {
            jitter: f64::NAN,
            ..all()
        },
        RecyclingConfig {
            jitter: 0.6,
            ..all()
        },
        RecyclingConfig {
            spacing: Duration::ZERO,
            ..all()
        },
        RecyclingConfig {
            max_calls: Some(0),
            ..all()
        },
        RecyclingConfig {
            max_memory: Some(1),
            ..all()
        },
        RecyclingConfig {
            idle_ttl: Some(Duration::ZERO),
            ..all()
        },
    ];
    for config in wrong {
        assert!(config.check().is_err(), "{config:?}");
    }
    let read: RecyclingConfig =
        serde_json::from_str(r#"{"max_age":"12h","max_memory":1073741824}"#).expect("read");
    assert_eq!(read.max_age, Some(SECOND * 43_200));
    assert_eq!(read.idle_ttl, None);
}

#[test]
fn workers_that_start_together_do_not_end_together() {
    let drawn: std::collections::BTreeSet<Option<u64>> = (0..50)
        .map(|seed| Limits::draw(&all(), seed).calls)
        .collect();
    assert!(drawn.len() > 30, "{drawn:?}");
}

proptest! {
    #[test]
    fn chance_takes_off_its_share_at_most(seed in any::<u64>(), jitter in 0.0..=0.5_f64) {
        let config = RecyclingConfig { jitter, ..all() };
        let limits = Limits::draw(&config, seed);
        prop_assert_eq!(limits, Limits::draw(&config, seed));
        let calls = limits.calls.expect("set");
        let least = 1_000.0 * (1.0 - jitter) - 1.0;
        prop_assert!(calls <= 1_000 && calls as f64 >= least);
        let age = limits.age.expect("set");
        prop_assert!(age <= SECOND * 3600);
        prop_assert!(age.as_secs_f64() >= 3600.0 * (1.0 - jitter) - 1e-6);
        prop_assert!(limits.memory.expect("set") <= 512 << 20);
    }

    #[test]
    fn never_two_within_the_spacing_and_never_one_for_idleness_below_the_least(
        workers in prop::collection::vec(
            (0..2_000_u64, 0..8_000_u64, 0..900_u64, 0..1_000_u64, 0..3_usize), 1..12),
        looks in prop::collection::vec(0..30_u64, 1..60),
        spare in 0..3_usize,
        seed in any::<u64>(),
    ) {
        let config = all();
        let limits: Vec<Limits> = (0..workers.len() as u64)
            .map(|index| Limits::draw(&config, seed ^ index))
            .collect();
        let mut workers: Vec<Worker> = workers
            .into_iter()
            .map(|(calls, age, idle, memory, in_flight)| Worker {
                age: SECOND * u32::try_from(age).expect("small"),
                calls,
                idle: SECOND * u32::try_from(idle).expect("small"),
                memory: Some(memory << 20),
                in_flight,
            })
            .collect();
        let mut now = Instant::now();
        let mut pool = Pool { spare, taken: None };
        for seconds in looks {
            now += SECOND * u32::try_from(seconds).expect("small");
            let taken = next(&config, limits.iter().zip(&workers), &pool, now);
            let Some((index, due)) = taken else { continue };
            if let Some(last) = pool.taken {
                prop_assert!(now.duration_since(last) >= config.spacing);
            }
            prop_assert_eq!(due.drain_first, workers[index].in_flight > 0);
            if due.cause == Cause::IdleTtl {
                prop_assert!(pool.spare > 0 && workers[index].in_flight == 0);
                pool.spare -= 1;
            }
            pool.taken = Some(now);
            workers[index] = Worker::default();
        }
    }
}
