//! Single decisions, and what holds for all of them.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A pool of ten that has been looked at for five minutes.
fn seen(utilization: f64) -> Observation {
    Observation {
        samples: 300,
        utilization: Some(utilization),
        recent: Some(utilization),
        wait_p95: Some(Duration::ZERO),
        recent_wait_p95: Some(Duration::ZERO),
        ready: 10,
        size: 10,
        concurrency: 1,
        ..Observation::default()
    }
}

fn once(seen: &Observation) -> Decision {
    let mut memory = Memory::default();
    decide(
        &OptimizerConfig::default(),
        seen,
        &mut memory,
        Instant::now(),
    )
}

#[test]
fn what_is_not_known_moves_nothing() {
    let few = Observation {
        samples: 9,
        ..seen(0.99)
    };
    let decision = once(&few);
    assert_eq!((decision.size, decision.changed), (10, false));
    assert_eq!(
        decision.reason,
        "10 workers stay: 9 looks since the last change, 10 are needed"
    );
    for unknown in [None, Some(f64::NAN)] {
        let blind = Observation {
            utilization: unknown,
            ..seen(0.1)
        };
        let decision = once(&blind);
        assert_eq!(decision.size, 10);
        assert!(decision.reason.contains("is not known"), "{decision:?}");
    }
}

#[test]
fn a_busy_pool_grows_only_where_calls_queue() {
    let busy = seen(0.95);
    assert_eq!(once(&busy).size, 11, "above the target for a whole window");
    let few_calls = Observation {
        mean_queued: 1.5,
        ..seen(0.91)
    };
    assert_eq!(once(&few_calls).size, 12);
    let many_calls = Observation {
        mean_queued: 40.0,
        ..seen(1.0)
    };
    let decision = once(&many_calls);
    assert_eq!(decision.size, 14, "by four at most");
    assert_eq!(
        decision.reason,
        "from 10 to 14 workers: 100.0 % busy over the last 60s (limit 90.0 %) and calls queue: 40.0 \
         waiting and 0.0 overflow workers on average"
    );
    let full = Observation {
        size: 50,
        ready: 50,
        ..many_calls
    };
    assert_eq!(once(&full).size, 50);
}

#[test]
fn an_idle_pool_shrinks_by_one_and_not_below_its_least() {
    let decision = once(&seen(0.1));
    assert_eq!(decision.size, 9);
    assert_eq!(
        decision.reason,
        "from 10 to 9 workers: 10.0 % busy, below 30.0 %"
    );
    let least = Observation {
        size: 5,
        ready: 5,
        ..seen(0.0)
    };
    assert_eq!(once(&least).size, 5);
    let no_calls = Observation {
        wait_p95: None,
        recent_wait_p95: None,
        ..seen(0.0)
    };
    assert_eq!(
        once(&no_calls).size,
        9,
        "that it is idle is known without a call"
    );
}

#[test]
fn a_pool_in_the_band_stays_and_says_so() {
    for utilization in [0.6, 0.7, 0.8] {
        let decision = once(&seen(utilization));
        assert!(!decision.changed, "{decision:?}");
    }
    assert_eq!(once(&seen(0.7)).reason, "10 workers stay: 70.0 % busy");
}

#[test]
fn workers_that_do_not_come_up_hold_growth_for_a_while_and_not_for_ever() {
    let config = OptimizerConfig::default();
    let (mut memory, began) = (Memory::default(), Instant::now());
    let busy = Observation {
        mean_queued: 3.0,
        ..seen(1.0)
    };
    assert_eq!(decide(&config, &busy, &mut memory, began).size, 13);
    let starting = Observation {
        size: 13,
        ready: 10,
        ..busy
    };
    let after = |minutes: u32| began + SECOND * 60 * minutes;
    let held = decide(&config, &starting, &mut memory, after(1));
    assert_eq!(held.size, 13);
    assert!(
        held.reason
            .ends_with("3 of the workers wanted are still starting")
    );
    assert_eq!(decide(&config, &starting, &mut memory, after(2)).size, 17);
}

#[test]
fn a_size_that_was_too_small_is_not_tried_again_at_once() {
    let config = OptimizerConfig::default();
    let (mut memory, began) = (Memory::default(), Instant::now());
    let of = |size, utilization, wait| Observation {
        size,
        ready: size,
        wait_p95: Some(Duration::from_millis(wait)),
        recent_wait_p95: Some(Duration::from_millis(wait)),
        ..seen(utilization)
    };
    let after = |minutes: u32| began + SECOND * 60 * minutes;
    let grown = decide(&config, &of(9, 0.65, 120), &mut memory, after(0));
    assert_eq!(grown.size, 10);
    assert!(
        grown.reason.contains("calls wait 120 ms at p95"),
        "{grown:?}"
    );
    let held = decide(&config, &of(10, 0.585, 10), &mut memory, after(30));
    assert_eq!(held.size, 10);
    assert_eq!(
        held.reason,
        "10 workers stay: 58.5 % busy, but 9 workers at 65.0 % were too few less than 3600s ago"
    );
    assert_eq!(
        decide(&config, &of(10, 0.5, 10), &mut memory, after(31)).size,
        9
    );
    let forgotten = decide(&config, &of(10, 0.585, 10), &mut memory, after(70));
    assert_eq!(forgotten.size, 9);
}

#[test]
fn overflow_comes_with_the_wait_and_goes_after_a_rest() {
    let config = OptimizerConfig::default();
    let (mut memory, began) = (Memory::default(), Instant::now());
    let mut now = began;
    let mut step = |seen: &Observation| {
        now += SECOND;
        decide(&config, seen, &mut memory, now)
    };
    let mut pool = Observation {
        queued: 3,
        oldest: Duration::from_millis(90),
        busy: 10,
        ..seen(0.7)
    };
    assert_eq!(step(&pool).overflow, 0, "90 ms is not too long");
    pool.oldest = Duration::from_millis(110);
    let more = step(&pool);
    assert_eq!((more.overflow, more.changed), (3, true));
    assert_eq!(
        more.reason,
        "3 more overflow workers: 3 calls wait, the oldest for 110 ms (limit 100 ms)"
    );
    pool.overflow = 3;
    assert_eq!(step(&pool).overflow, 3, "those that start are waited for");
    pool.queued = 40;
    assert_eq!(step(&pool).overflow, 10, "no more than allowed");
    let mut pool = Observation {
        overflow: 3,
        overflow_ready: 3,
        busy: 4,
        ..seen(0.7)
    };
    let given_back = (0..40)
        .filter(|_| {
            let before = pool.overflow;
            pool.overflow = step(&pool).overflow;
            pool.overflow_ready = pool.overflow;
            pool.overflow < before
        })
        .count();
    assert_eq!((given_back, pool.overflow), (3, 0), "one each ten seconds");
    let needed = Observation {
        overflow: 2,
        overflow_ready: 2,
        busy: 11,
        ..seen(0.7)
    };
    assert!(
        (0..40).all(|_| step(&needed).overflow == 2),
        "none would be free without it"
    );
}

#[test]
fn settings_that_cannot_work_are_named() {
    let default = OptimizerConfig::default;
    assert_eq!(default().check(), Ok(()));
    let wrong = [
        OptimizerConfig {
            min: 0,
            ..default()
        },
        OptimizerConfig {
            min: 51,
            ..default()
        },
        OptimizerConfig {
            max: 1000,
            ..default()
        },
        OptimizerConfig {
            target_low: 0.2,
            ..default()
        },
        OptimizerConfig {
            target_high: f64::NAN,
            ..default()
        },
        OptimizerConfig {
            scale_up_utilization: 1.1,
            ..default()
        },
        OptimizerConfig {
            interval: Duration::ZERO,
            ..default()
        },
        OptimizerConfig {
            window: SECOND,
            ..default()
        },
        OptimizerConfig {
            minimum_samples: 61,
            ..default()
        },
        OptimizerConfig {
            up_by_at_most: 0,
            ..default()
        },
    ];
    for config in wrong {
        let error = config.check().unwrap_err();
        assert!(error.setting.contains("optimizer"), "{error}");
    }
    let read: OptimizerConfig =
        serde_json::from_str(r#"{"interval":"30s","max":20}"#).expect("a part is enough");
    assert_eq!((read.interval, read.max, read.min), (SECOND * 30, 20, 5));
    assert!(serde_json::from_str::<OptimizerConfig>(r#"{"maxx":20}"#).is_err());
}

/// Anything that can be seen of a pool, but for what the pool itself was told.
fn anything() -> impl Strategy<Value = Observation> {
    let share = prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        (0.0..3.0_f64).prop_map(Some)
    ];
    let wait = prop_oneof![
        Just(None),
        (0..500_u64).prop_map(|ms| Some(Duration::from_millis(ms)))
    ];
    let first = (
        0..400_u64,
        share.clone(),
        share,
        0..200_usize,
        0.0..50.0_f64,
        0.0..12.0_f64,
    );
    let second = (
        0..400_u64,
        wait.clone(),
        wait,
        0..80_usize,
        0..60_usize,
        0..12_usize,
        1..9_usize,
    );
    (first, second).prop_map(
        |(
            (samples, utilization, recent, queued, mean_queued, mean_overflow),
            (oldest, wait_p95, recent_wait_p95, busy, ready, overflow_ready, concurrency),
        )| Observation {
            samples,
            utilization,
            recent,
            queued,
            mean_queued,
            mean_overflow,
            oldest: Duration::from_millis(oldest),
            wait_p95,
            recent_wait_p95,
            busy,
            ready,
            overflow_ready,
            concurrency,
            size: 0,
            overflow: 0,
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_seen_the_rules_hold(
        start in 5..=50_usize,
        looks in prop::collection::vec((1..90_u64, anything()), 1..80),
    ) {
        let config = OptimizerConfig::default();
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let (mut size, mut overflow) = (start, 0);
        let mut last: Option<(Instant, bool)> = None;
        let mut row = 0;
        for (seconds, seen) in looks {
            now += SECOND * u32::try_from(seconds).expect("small");
            let seen = Observation { size, overflow, ..seen };
            let decision = decide(&config, &seen, &mut memory, now);
            prop_assert!((config.min..=config.max).contains(&decision.size));
            prop_assert!(decision.overflow <= config.overflow);
            prop_assert!(decision.size <= size + config.up_by_at_most && decision.size + 1 >= size);
            prop_assert!(decision.overflow + 1 >= overflow);
            prop_assert!(!decision.reason.is_empty());
            let moved = (decision.size, decision.overflow) != (size, overflow);
            prop_assert_eq!(decision.changed, moved);
            row = if is_exhausted(&config, &seen) { row + 1 } else { 0 };
            if decision.size != size {
                let up = decision.size > size;
                if let Some((at, was_up)) = last && was_up != up {
                    let cooled = now.duration_since(at) >= config.cooldown;
                    prop_assert!(cooled || (up && is_exhausted(&config, &seen)));
                }
                prop_assert!(seen.samples >= config.minimum_samples || row >= config.minimum_samples);
                last = Some((now, up));
            }
            (size, overflow) = (decision.size, decision.overflow);
        }
    }

    #[test]
    fn the_same_is_decided_twice(seen in anything(), size in 5..=50_usize) {
        let (config, now) = (OptimizerConfig::default(), Instant::now());
        let seen = Observation { size, ..seen };
        let decision = decide(&config, &seen, &mut Memory::default(), now);
        prop_assert_eq!(&decision, &decide(&config, &seen, &mut Memory::default(), now));
    }
}
