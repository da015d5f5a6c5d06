//! The rules on calls that fail.

use super::*;

#[test]
fn pool_faults_roll_back_when_they_are_evident() {
    let seen = evidence(lane(600), failing(lane(200), Blame::Pool, 40));
    let analysis = judge(&seen);
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Critical, Some(Action::Rollback))
    );
    let reason = said(&analysis, "critical_error_rate");
    assert_eq!(
        reason.text,
        "pool faults on the candidate: 20 % (40 of 200 calls: 40 pool-failed), limit 10 %"
    );
    assert_eq!((reason.value, reason.limit), (Some(0.2), Some(0.1)));
}

#[test]
fn a_catastrophe_need_not_wait_for_the_minimum_and_a_handful_proves_nothing() {
    let rolls_back = |calls, faults| {
        // Stable is as bad, so that only the absolute rule can speak.
        let stable = failing(lane(600), Blame::Pool, 300);
        let seen = evidence(stable, failing(lane(calls), Blame::Pool, faults));
        judge(&seen).action() == Some(Action::Rollback)
    };
    assert!(rolls_back(10, 8) && rolls_back(12, 12));
    assert!(
        !rolls_back(10, 4),
        "40 % of 10 happen at some look of a day with a rate below 10 %"
    );
    assert!(!rolls_back(9, 9), "9 calls are a handful");
    assert!(!rolls_back(50, 6), "12 % of 50 may be 5 % by chance");
}

#[test]
fn a_moderate_rate_of_pool_faults_holds_but_does_not_roll_back() {
    let analysis = judge(&evidence(
        failing(lane(600), Blame::Pool, 40),
        failing(lane(200), Blame::Pool, 13),
    ));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    assert!(
        said(&analysis, "error_rate")
            .text
            .contains("6.5 % (13 of 200 calls")
    );
}

#[test]
fn the_callers_faults_speak_against_nobody() {
    let analysis = judge(&evidence(lane(600), failing(lane(200), Blame::Caller, 200)));
    assert_eq!(analysis.verdict, Verdict::Healthy);
    assert_eq!(analysis.candidate.failed, 0);
}

#[test]
fn an_outage_upstream_hits_both_lanes_and_speaks_against_neither() {
    for blame in [Blame::Provider, Blame::Program] {
        let analysis = judge(&evidence(
            failing(lane(600), blame, 480),
            failing(lane(200), blame, 170),
        ));
        assert_eq!(analysis.verdict, Verdict::Healthy, "{analysis:#?}");
    }
}

#[test]
fn failures_are_compared_with_a_floor_and_with_significance() {
    let action = |stable, candidate| {
        let seen = evidence(
            failing(lane(1000), Blame::Program, stable),
            failing(lane(200), Blame::Program, candidate),
        );
        judge(&seen).action()
    };
    assert_eq!(action(10, 20), Some(Action::Rollback), "10 % against 1 %");
    assert_eq!(action(40, 20), None, "2.5 times is not 3 times");
    assert_eq!(
        action(0, 2),
        None,
        "1 % is not above the floor, whatever the baseline"
    );
    assert_eq!(
        action(0, 3),
        None,
        "three may be chance at one look of a day"
    );
    assert_eq!(
        action(0, 12),
        Some(Action::Rollback),
        "a zero baseline is no excuse"
    );
}
