//! The rules on how long calls take.

use super::*;

#[test]
fn the_overhead_is_judged_by_itself() {
    let analysis = judge(&evidence(
        with_latency(600, 230, 1230),
        with_latency(200, 260, 1260),
    ));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    let text = &said(&analysis, "overhead_p99").text;
    assert!(
        text.contains("limit 200 ms (stable 2") && text.contains("over 200 calls"),
        "{text}"
    );
}

#[test]
fn a_p99_is_compared_by_program_with_certainty_and_beyond_a_floor() {
    let action = |stable, candidate| judge(&evidence(stable, candidate)).action();
    let slow_pool = action(with_latency(1_500, 40, 1040), with_latency(200, 140, 1140));
    assert_eq!(slow_pool, Some(Action::Rollback));
    let slow_program = action(with_latency(1_500, 10, 1000), with_latency(200, 10, 2500));
    assert_eq!(slow_program, Some(Action::Rollback));
    let below_the_floor = action(with_latency(1_500, 1, 1001), with_latency(200, 45, 1045));
    assert_eq!(below_the_floor, None, "45 times, but 44 ms");
    let uncertain = judge(&evidence(
        with_latency(600, 10, 1000),
        with_latency(200, 10, 1900),
    ));
    assert_eq!(
        (uncertain.verdict, uncertain.action()),
        (Verdict::Warning, None),
        "stable's own p99 may be anywhere above its slowest call"
    );
    // Another mix of programs in the lanes is not a slower lane.
    let mut other_mix = with_latency(200, 10, 9000);
    let program = other_mix.programs.remove("qa").expect("there");
    other_mix.programs.insert("essay".into(), program);
    assert_eq!(action(with_latency(1_500, 10, 1000), other_mix), None);
}

#[test]
fn calls_that_all_take_far_longer_are_told_before_a_p99_can_be() {
    let slow = judge(&evidence(
        with_latency(300, 10, 1000),
        with_latency(120, 10, 2500),
    ));
    assert_eq!(slow.action(), Some(Action::Rollback), "{slow:#?}");
    let reason = said(&slow, "median_ratio");
    assert!(
        reason
            .text
            .starts_with("median of whole calls of qa on the candidate: 2500 ms over 120"),
        "{reason:?}"
    );
    // Twice as long is the limit, and not beyond it.
    let twice = judge(&evidence(
        with_latency(300, 10, 1000),
        with_latency(120, 10, 1950),
    ));
    assert_eq!(twice.action(), None, "{twice:#?}");
    // Of calls of which each may take short or long, the median of a hundred is uncertain.
    let either =
        |long: u64| taking((0..120).map(move |i| if i % 120 < long { 2_500 } else { 1_000 }));
    let half = judge(&evidence(taking((0..300).map(|_| 1_000)), either(63)));
    assert!(
        half.reasons
            .iter()
            .all(|reason| reason.rule != "median_ratio"),
        "{half:#?}"
    );
}

#[test]
fn a_tail_that_grows_alone_pauses_and_a_shift_of_all_is_degradation() {
    let normal = |calls: u64| (0..calls).map(|i| 800 + i % 100);
    // One call in twenty-five hangs for ten seconds; the others are as they were.
    let tail = taking((0..1_000).map(|i| if i % 25 == 0 { 10_000 } else { 800 + i % 100 }));
    let analysis = judge(&evidence(taking(normal(3_000)), tail));
    assert_eq!(analysis.action(), Some(Action::Pause), "{analysis:#?}");
    let reason = said(&analysis, "p99_ratio");
    assert!(
        reason
            .text
            .ends_with("its calls in general are not slower, only the slowest are"),
        "{reason:?}"
    );
    let shifted = taking(normal(1_000).map(|ms| ms * 6 / 5));
    let analysis = judge(&evidence(taking(normal(3_000)), shifted));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    let reason = said(&analysis, "degradation");
    assert!(
        reason
            .text
            .starts_with("median of whole calls of qa on the candidate: 10"),
        "{reason:?}"
    );
    let slightly = taking(normal(1_000).map(|ms| ms * 27 / 25));
    let analysis = judge(&evidence(taking(normal(3_000)), slightly));
    assert_eq!(
        analysis.verdict,
        Verdict::Healthy,
        "8 % is certain, and below the limit"
    );
}

#[test]
fn a_p99_of_few_samples_is_not_judged_and_does_not_stand_in_the_way() {
    let analysis = judge(&evidence(
        with_latency(600, 10, 1000),
        with_latency(60, 190, 9000),
    ));
    assert_eq!(analysis.verdict, Verdict::Healthy);
    let reason = said(&analysis, "p99_ratio");
    assert_eq!(
        reason.needs.as_deref(),
        Some("40 more calls of qa on the candidate")
    );
    assert!(
        said(&analysis, "overhead_p99")
            .text
            .contains("not judged yet")
    );
}

#[test]
fn a_few_slow_calls_are_not_a_slow_lane() {
    let mut candidate = lane(198);
    candidate.calls = 200;
    let program = candidate.programs.get_mut("qa").expect("there");
    program.calls = 200;
    for _ in 0..2 {
        program.total.record(Duration::from_secs(9));
        program.overhead.record(Duration::from_secs(8));
    }
    assert_eq!(
        judge(&evidence(lane(1_500), candidate)).verdict,
        Verdict::Healthy
    );
}
