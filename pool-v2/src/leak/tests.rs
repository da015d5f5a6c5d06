//! What is a leak, and what only looks like one.

use super::*;
use crate::seeded::Seeded;

const MIB: f64 = 1024.0 * 1024.0;
const EVERY: f64 = 30.0;

/// Measures a worker of 100 MiB for `hours` after its warm-up: `memory(hours)` is a share of that,
/// and `calls(hours)` are the calls of `qa` and `essay` in the 30 s up to then.
fn measured(
    hours: f64,
    mut memory: impl FnMut(f64) -> f64,
    mut calls: impl FnMut(f64) -> (u64, u64),
) -> MemorySeries {
    let (config, started) = (LeakConfig::default(), Instant::now());
    let mut series = MemorySeries::new("v2-0.1", started);
    let (mut qa, mut essay) = (50, 50);
    let mut after = 0.0;
    while after <= hours * 3600.0 {
        let now = started + config.warm_up + Duration::from_secs_f64(after);
        let (more_qa, more_essay) = calls(after / 3600.0);
        (qa, essay) = (qa + more_qa, essay + more_essay);
        #[expect(clippy::cast_possible_truncation, reason = "whole bytes are meant")]
        let bytes = (memory(after / 3600.0) * 100.0 * MIB).max(0.0) as u64;
        series.record(&config, now, bytes, [("qa", qa), ("essay", essay)]);
        after += EVERY;
    }
    series
}

fn steady(hours: f64, memory: impl FnMut(f64) -> f64) -> Growth {
    let series = measured(hours, memory, |_| (10, 10));
    let growth = series.growth(&LeakConfig::default(), 1);
    growth.expect("enough was measured")
}

/// Noise whose next value is `memory` of its last one, with a deviation of 1 in the long run.
fn noise(seed: u64, memory: f64) -> impl FnMut() -> f64 {
    let mut chance = Seeded::new(seed);
    let fresh = (1.0 - memory * memory).sqrt();
    let mut value = chance.normal();
    move || {
        value = memory * value + fresh * chance.normal();
        value
    }
}

#[test]
fn too_little_is_not_judged() {
    let config = LeakConfig::default();
    for (hours, judged) in [(0.1, false), (0.48, false), (0.51, true)] {
        let series = measured(hours, |at| 1.0 + at, |_| (5, 5));
        assert_eq!(series.growth(&config, 1).is_some(), judged, "{hours} h");
    }
    let nobody_called = {
        let started = Instant::now();
        let mut series = MemorySeries::new("v2-0.1", started);
        for n in 0..300 {
            let now = started + Duration::from_secs(30 * n);
            series.record(&config, now, 1 << 27, [("qa", 3)]);
        }
        series
    };
    assert_eq!(nobody_called.growth(&config, 1), None, "it is not warm yet");
}

#[test]
fn a_gap_in_the_measurements_is_not_bridged() {
    let config = LeakConfig::default();
    let started = Instant::now();
    let mut series = MemorySeries::new("v2-0.1", started);
    let warm = started + config.warm_up;
    for n in (0..60).chain(400..460) {
        let now = warm + Duration::from_secs(30 * n);
        series.record(&config, now, (100 + n) << 20, [("qa", 100 + n)]);
    }
    assert_eq!(series.growth(&config, 1), None);
}

#[test]
fn what_is_kept_is_bounded() {
    let config = LeakConfig::default();
    let started = Instant::now();
    let mut series = MemorySeries::new("v2-0.1", started);
    let names: Vec<String> = (0..100).map(|n| format!("program-{n}")).collect();
    for n in 0..2_000_u64 {
        let now = started + config.warm_up + Duration::from_secs(10 * n);
        let calls = names.iter().map(|name| (name.as_str(), n + 1));
        series.record(&config, now, 1 << 27, calls);
    }
    assert_eq!((series.samples.len(), series.programs.len()), (KEPT, NAMED));
    let sample = series.samples.back().expect("kept");
    assert_eq!(sample.calls.len(), NAMED + 1);
    assert_eq!(sample.calls[0], 84 * 3, "all without a name, in 30 s");
    let growth = series.growth(&config, 1).expect("enough");
    assert_eq!((growth.samples, growth.at_least), (360, 0.0));
}

#[test]
fn a_flat_line_does_not_grow() {
    let growth = steady(1.0, |_| 1.0);
    assert_eq!((growth.per_hour, growth.at_least), (0.0, 0.0));
    assert_eq!(
        (growth.samples, growth.span),
        (121, Duration::from_secs(3600))
    );
}

#[test]
fn a_collectors_saw_does_not_grow() {
    for minutes in [2.0, 5.0, 7.0, 11.0, 20.0, 30.0, 40.0] {
        for phase in [0.0, 0.3, 0.6, 0.9] {
            let growth = steady(2.0, |at| 1.0 + 0.2 * (at * 60.0 / minutes + phase).fract());
            assert!(growth.at_least <= 0.0, "{minutes} min, {phase}: {growth:?}");
        }
    }
}

#[test]
fn a_warm_up_that_flattens_is_no_leak() {
    for minutes in [5.0, 10.0, 15.0] {
        for hours in [1.0, 2.0, 3.0] {
            let mut noise = noise(7, 0.5);
            let growth = steady(hours, |at| {
                2.0 - (-at * 60.0 / minutes).exp() + 0.005 * noise()
            });
            assert!(
                growth.at_least <= 0.0,
                "{minutes} min, {hours} h: {growth:?}"
            );
        }
    }
}

#[test]
fn one_step_is_no_leak() {
    for tenth in 1..10 {
        let mut noise = noise(tenth, 0.5);
        let step = f64::from(u32::try_from(tenth).expect("small")) / 10.0;
        let growth = steady(1.0, |at| {
            1.0 + f64::from(u8::from(at > step)) + 0.005 * noise()
        });
        assert!(growth.at_least <= 0.0, "after {step} h: {growth:?}");
    }
}

#[test]
fn a_leak_is_found_and_not_overrated() {
    // A deviation of 2 % that the next sample mostly shares: a leak of 10 % needs three hours.
    for (per_hour, hours, mostly) in [(0.1, 3.0, 0.03), (0.5, 1.0, 0.2), (0.5, 3.0, 0.35)] {
        let mut bounds = Vec::new();
        for seed in 0..50 {
            let mut noise = noise(seed, 0.8);
            let growth = steady(hours, |at| 1.0 + per_hour * at + 0.02 * noise());
            assert!(
                growth.at_least > 0.0 && growth.at_least < per_hour,
                "{per_hour} an hour, seed {seed}: {growth:?}"
            );
            let off = (growth.per_hour - per_hour).abs();
            assert!(off < 0.1, "{per_hour} an hour, seed {seed}: {growth:?}");
            bounds.push(growth.at_least);
        }
        let median = slope::median_of(bounds);
        println!("{per_hour} an hour, seen for {hours} h: at least {median:.3}");
        assert!(median > mostly, "{per_hour} an hour: at least {median}");
    }
}

#[test]
fn a_leak_under_a_saw_is_found() {
    let growth = steady(2.0, |at| 1.0 + 0.3 * at + 0.1 * (at * 12.0).fract());
    assert!(growth.at_least > 0.15, "{growth:?}");
}

/// Series of a thousand that are said to grow, of those made by `memory(seed)`.
fn alarms(hours: f64, mut series: impl FnMut(u64) -> Box<dyn FnMut(f64) -> f64>) -> usize {
    (0..1_000)
        .filter(|seed| steady(hours, series(*seed)).at_least > 0.0)
        .count()
}

#[test]
fn of_a_thousand_series_without_growth_ten_at_most_are_said_to_grow() {
    for hours in [0.5, 1.0, 3.0] {
        for memory in [0.0, 0.5, 0.9, 0.97, 0.99, 0.997] {
            let found = alarms(hours, |seed| {
                let mut noise = noise(seed, memory);
                Box::new(move |_| 1.0 + 0.03 * noise())
            });
            println!("noise that remembers {memory}, {hours} h: {found} of 1000");
            assert!(found <= 10, "memory {memory}, {hours} h: {found} of 1000");
        }
        let walks = alarms(hours, |seed| {
            let (mut chance, mut value) = (Seeded::new(seed), 2.0);
            Box::new(move |_| {
                value += 0.005 * chance.normal();
                value
            })
        });
        println!("random walks, {hours} h: {walks} of 1000");
        assert!(walks <= 10, "random walks, {hours} h: {walks} of 1000");
    }
}

#[test]
fn looking_again_and_again_does_not_make_a_leak_of_ten_percent() {
    // As a migration does: a walk of 5 % an hour, seen for six hours, every ten minutes.
    let (config, started) = (LeakConfig::default(), Instant::now());
    let found = (0..300).filter(|seed| {
        let mut series = MemorySeries::new("v2-0.1", started);
        let (mut chance, mut value) = (Seeded::new(*seed), 100.0 * MIB);
        (0..720_u32).any(|n| {
            value += 0.0045 * 100.0 * MIB * chance.normal();
            let now = started + config.warm_up + config.sample_every * n;
            #[expect(clippy::cast_possible_truncation, reason = "whole bytes are meant")]
            series.record(&config, now, value as u64, [("qa", 100 + u64::from(n))]);
            let growth = (n % 20 == 0).then(|| series.growth(&config, 1)).flatten();
            growth.is_some_and(|growth| growth.at_least > 0.1)
        })
    });
    let found = found.count();
    println!("{found} of 300 walks, in 36 looks each");
    assert!(found <= 3, "{found} of 300");
}

#[test]
fn the_worst_of_many_is_not_found_oftener() {
    let config = LeakConfig::default();
    let pools = 200_u64;
    let found = (0..pools).filter(|pool| {
        let workers = (0..8).filter_map(|worker| {
            let mut chance = Seeded::new(pool * 8 + worker);
            let mut value = 2.0;
            let memory = |_| {
                value += 0.005 * chance.normal();
                value
            };
            measured(1.0, memory, |_| (3, 3)).growth(&config, 8)
        });
        worst(workers).is_some_and(|growth| growth.at_least > 0.0)
    });
    assert!(found.count() <= 2, "of {pools} pools of eight random walks");
}

#[test]
fn the_program_that_leaks_is_named() {
    for seed in 0..20 {
        let (mut qa, mut essay) = (Seeded::new(seed), Seeded::new(1000 + seed));
        let mut noise = noise(seed, 0.5);
        let mut leaked = 0.0;
        let leaking = std::cell::Cell::new(0_u64);
        // Both come in waves of their own; an `essay` keeps 20 KiB, a `qa` nothing.
        let calls = |at: f64| {
            let wave = |period: f64| 1.0 + 0.8 * (at * std::f64::consts::TAU / period).sin();
            let calls = (
                qa.poisson(20.0 * wave(0.4)),
                essay.poisson(15.0 * wave(0.7)),
            );
            leaking.set(calls.1);
            calls
        };
        let memory = |_| {
            leaked += leaking.get() as f64 * 20.0 / 1024.0 / 100.0;
            1.0 + leaked + 0.003 * noise()
        };
        let growth = measured(2.0, memory, calls).growth(&LeakConfig::default(), 1);
        let growth = growth.expect("enough was measured");
        assert!(growth.at_least > 0.1, "{growth:?}");
        assert_eq!(
            growth.program.as_deref(),
            Some("essay"),
            "seed {seed}: {growth:?}"
        );
    }
}

#[test]
fn programs_that_run_in_step_are_not_told_apart_and_one_alone_is() {
    let config = LeakConfig::default();
    let mut noise = noise(3, 0.5);
    let together = measured(2.0, |at| 1.0 + 0.3 * at + 0.003 * noise(), |_| (10, 10));
    let growth = together.growth(&config, 1).expect("enough");
    assert!(growth.at_least > 0.1, "{growth:?}");
    assert_eq!(growth.program, None);
    let alone = measured(2.0, |at| 1.0 + 0.3 * at + 0.003 * noise(), |_| (10, 0));
    let growth = alone.growth(&config, 1).expect("enough");
    assert_eq!(growth.program.as_deref(), Some("qa"));
}

#[test]
fn no_program_is_named_where_nothing_grows() {
    for seed in 0..50 {
        let mut noise = noise(seed, 0.9);
        let growth = steady(1.0, |_| 1.0 + 0.02 * noise());
        assert!(
            growth.at_least > 0.0 || growth.program.is_none(),
            "{growth:?}"
        );
    }
}

#[test]
fn a_small_workers_cache_is_not_a_large_share() {
    let config = LeakConfig::default();
    let started = Instant::now();
    let mut series = MemorySeries::new("v2-0.1", started);
    for n in 0..121_u64 {
        let now = started + config.warm_up + Duration::from_secs(30 * n);
        // From 4 MiB, a mebibyte an hour.
        let bytes = (4 << 20) + (n << 20) / 120;
        series.record(&config, now, bytes, [("qa", 100 + n)]);
    }
    let growth = series.growth(&config, 1).expect("enough");
    assert!((growth.per_hour - 1.0 / 32.0).abs() < 0.001, "{growth:?}");
}

#[test]
fn settings_that_cannot_work_are_named() {
    assert_eq!(LeakConfig::default().check(), Ok(()));
    let wrong = [
        LeakConfig {
            sample_every: Duration::ZERO,
            ..LeakConfig::default()
        },
        LeakConfig {
            minimum_span: Duration::from_secs(60),
            ..LeakConfig::default()
        },
        LeakConfig {
            minimum_span: Duration::from_secs(86_400),
            ..LeakConfig::default()
        },
    ];
    for config in wrong {
        assert!(config.check().is_err(), "{config:?}");
    }
}
