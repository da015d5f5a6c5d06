//! Memory that grows: when it speaks against the candidate, and when it does not.

use super::*;

/// Stable's, where it was measured and does not grow.
const STEADY: Option<(f64, f64)> = Some((0.001, -0.002));

/// With the candidate's and stable's growth: (per hour, at least).
fn growing(candidate: Option<(f64, f64)>, stable: Option<(f64, f64)>) -> Evidence {
    let of = |worker, seen: (f64, f64)| growth(worker, seen.0, seen.1);
    let mut seen = evidence(lane(600), lane(200));
    let pool = seen.candidate_pool.as_mut().expect("up");
    pool.growth = candidate.map(|seen| of("v2-3.1", seen));
    // Of a pool that can measure, as pool V1 cannot.
    seen.stable_growth = stable.map(|seen| of("v2-0.1", seen));
    seen
}

#[test]
fn memory_that_certainly_grows_rolls_back() {
    let mut seen = growing(Some((0.62, 0.41)), STEADY);
    let pool = seen.candidate_pool.as_mut().expect("up");
    pool.growth.as_mut().expect("measured").program = Some("essay".into());
    let analysis = judge(&seen);
    assert_eq!(analysis.action(), Some(Action::Rollback));
    let reason = said(&analysis, "memory_growth");
    assert_eq!(
        reason.text,
        "the memory of the candidate's worker v2-3.1 grows by 62 % an hour, at least 41 % at 99 % \
         confidence (90 samples over 45m), with the calls of essay, stable's by 0.10 % an hour \
         (v2-0.1), so the candidate's by 40.9 % to 82.9 % more at 99 % confidence, limit 10 % an hour"
    );
    assert_eq!((reason.value, reason.limit), (Some(0.41), Some(0.1)));
    let uncertain = judge(&growing(Some((0.62, 0.09)), STEADY));
    assert_eq!(
        (uncertain.verdict, uncertain.reasons.len()),
        (Verdict::Healthy, 0),
        "only the bound moves traffic"
    );
    let mut thresholds = Thresholds::default();
    thresholds.memory_growth.action = Action::Log;
    let only_reported = analyse(&thresholds, &growing(Some((0.62, 0.09)), STEADY));
    assert_eq!(only_reported.verdict, Verdict::Warning);
}

#[test]
fn growth_that_is_not_known_is_said_and_holds_nothing_back() {
    for unknown in [None, Some((f64::NAN, 0.5)), Some((0.5, f64::INFINITY))] {
        let analysis = judge(&growing(unknown, None));
        assert_eq!(
            (analysis.verdict, analysis.action()),
            (Verdict::Healthy, None)
        );
        let reason = said(&analysis, "memory_growth");
        assert_eq!((reason.action, reason.value), (Action::Note, None));
        assert!(reason.text.contains("is not judged yet"), "{reason:?}");
    }
    let mut seen = growing(None, None);
    seen.candidate_pool = None;
    let reasons = judge(&seen).reasons;
    assert!(reasons.iter().all(|reason| reason.rule != "memory_growth"));
}

#[test]
fn a_leak_in_both_lanes_is_the_programs() {
    let both = judge(&growing(Some((0.5, 0.48)), Some((0.45, 0.42))));
    assert_eq!((both.verdict, both.action()), (Verdict::Healthy, None));
    let reason = said(&both, "memory_growth");
    assert_eq!((reason.action, reason.value), (Action::Note, Some(0.48)));
    assert!(
        reason.text.ends_with(
            "and stable's by 45 % an hour (v2-0.1), so the candidate's by 1.4 % to 8.6 % more at 99 % \
             confidence: what grows in both lanes is the program's"
        ),
        "{reason:?}"
    );
    let far_beyond = judge(&growing(Some((0.8, 0.7)), Some((0.45, 0.3))));
    assert_eq!(far_beyond.action(), Some(Action::Rollback));
}

#[test]
fn where_the_difference_is_not_certain_a_person_decides() {
    for (candidate, stable) in [((0.5, 0.4), (0.45, -0.1)), ((0.5, 0.4), (0.3, 0.1))] {
        let analysis = judge(&growing(Some(candidate), Some(stable)));
        assert_eq!(analysis.action(), Some(Action::Pause), "{analysis:#?}");
        let reason = said(&analysis, "memory_growth");
        assert!(
            reason.text.ends_with("the program may be the cause"),
            "{reason:?}"
        );
    }
    let shrinking = judge(&growing(Some((0.19, 0.12)), Some((-0.3, -0.31))));
    assert_eq!(
        shrinking.action(),
        Some(Action::Rollback),
        "12 % are certain: {shrinking:#?}"
    );
    let not_by_shrinking = judge(&growing(Some((0.08, 0.05)), Some((-0.3, -0.31))));
    assert_eq!(
        not_by_shrinking.verdict,
        Verdict::Healthy,
        "stable's shrinking is not growth"
    );
}

#[test]
fn where_stable_was_not_measured_the_leak_may_be_the_programs_and_a_person_decides() {
    for unmeasured in [None, Some((f64::NAN, f64::NAN))] {
        let analysis = judge(&growing(Some((0.5, 0.4)), unmeasured));
        assert_eq!(analysis.verdict, Verdict::Critical);
        assert_eq!(analysis.action(), Some(Action::Pause));
        let reason = said(&analysis, "memory_growth");
        assert!(
            reason
                .text
                .ends_with("stable's was not measured, so the program may be the cause"),
            "{reason:?}"
        );
    }
    let mut thresholds = Thresholds::default();
    thresholds.memory_growth.action = Action::Log;
    let reported = analyse(&thresholds, &growing(Some((0.5, 0.4)), None));
    assert_eq!(
        reported.verdict,
        Verdict::Warning,
        "a milder rule stays as mild"
    );
}
