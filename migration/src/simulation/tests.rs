//! The proof: how often equal lanes are told apart, and how often unequal ones are not. Seeds are
//! fixed, so the counts are exact; a thousand runs of each are made by `cargo xtask bench migrate`.

use super::*;
use crate::settings::Settings;

const RUNS: u64 = 200;

/// The owner's sixteen hours, at a hundredth of their length, so that two hundred of them are made in
/// a few seconds: the bench makes them whole.
fn plan() -> Plan {
    scaled(100.0)
}

fn scaled(by: f64) -> Plan {
    let settings = Settings {
        interval: Duration::from_secs(5),
        ..Settings::default()
    };
    settings.plan("v1", "v2", Some(by)).expect("valid")
}

fn runs(plan: &Plan, per_second: f64, difference: Difference) -> Vec<Ended> {
    let load = Load::typical(per_second);
    (0..RUNS)
        .map(|seed| migrate(plan, &load, &difference, seed, Until::Told))
        .collect()
}

#[test]
fn equal_lanes_pass_and_are_told_apart_no_more_often_than_the_plan_allows() {
    // Shorter still: a run of equal lanes goes to its end.
    let ended = runs(&scaled(300.0), 30.0, Difference::default());
    let told = ended.iter().filter(|ended| ended.told.is_some()).count();
    // 1 % of 200 is 2.
    assert!(
        told <= 2,
        "{told}: {:?}",
        ended.iter().find_map(|ended| ended.told.clone())
    );
    let passed = ended.iter().filter(|ended| ended.passed).count();
    assert!(passed >= 198, "{passed}");
    assert!(ended[0].looks > 40, "{:?}", ended[0]);
}

#[test]
fn five_in_a_hundred_more_failures_are_taken_back() {
    let ended = runs(
        &plan(),
        40.0,
        Difference {
            failing: 0.05,
            ..Difference::default()
        },
    );
    let told = ended.iter().filter(|ended| ended.told.is_some()).count();
    assert!(told >= 190, "{told}");
    assert!(ended.iter().all(|ended| !ended.passed));
}

#[test]
fn a_fifth_longer_is_told() {
    let ended = runs(
        &plan(),
        40.0,
        Difference {
            slower: 0.2,
            ..Difference::default()
        },
    );
    let told = ended.iter().filter_map(|ended| ended.told.as_ref());
    let by_latency = told.filter(|told| told.rule == "degradation" || told.rule == "p99_ratio");
    assert!(by_latency.count() >= 190);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let difference = Difference {
            failing: 0.03,
            slower: 0.1,
        };
        migrate(&plan(), &Load::typical(5.0), &difference, seed, Until::Told)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_stage_alone_says_how_many_calls_it_needed() {
    let difference = Difference {
        failing: 0.05,
        ..Difference::default()
    };
    let limits = (Duration::from_secs(1800), 50_000);
    let seen = |percent: usize| {
        stage(
            &plan(),
            percent,
            &Load::typical(40.0),
            &difference,
            1,
            limits,
        )
    };
    let (first, fourth) = (seen(0).expect("seen"), seen(3).expect("seen"));
    assert!(
        first.calls.1 < fourth.calls.1 * 20 && first.after > fourth.after,
        "{first:?} {fourth:?}"
    );
    let nothing = stage(
        &plan(),
        3,
        &Load::typical(40.0),
        &Difference::default(),
        1,
        limits,
    );
    assert_eq!(nothing, None);
}

#[test]
fn what_it_takes_is_less_for_a_larger_difference_and_none_where_there_is_none_to_see() {
    let of = |failing| {
        let difference = Difference {
            failing,
            ..Difference::default()
        };
        power(&plan(), &Load::typical(40.0), &difference, 8)
    };
    let (large, small) = (of(0.2), of(0.05));
    assert_eq!(large.len(), 5, "at 100 % there is nothing to compare with");
    let candidate = |power: &Power| power.half.map(|needed| needed.candidate).expect("seen");
    for (large, small) in large.iter().zip(&small).skip(2) {
        assert!(candidate(large) < candidate(small), "{large:?} {small:?}");
        assert!(
            large.told >= large.within_hold && large.most >= large.half,
            "{large:?}"
        );
    }
    assert_eq!(large[3].within_hold, 1.0);
}
