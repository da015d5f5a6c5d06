//! What kind of trouble a rollback is recorded for: that which was found.

use super::*;
use crate::scenario::Scenario;

fn of(seen: &Evidence, thresholds: &Thresholds) -> (Option<Action>, Scenario) {
    let analysis = analyse(thresholds, seen);
    (analysis.action(), Scenario::of(&analysis))
}

#[test]
fn what_was_degraded_decides_and_not_the_name_of_the_rule() {
    let mut thresholds = Thresholds::default();
    thresholds.degradation.action = Action::Rollback;
    let normal = |calls: u64| (0..calls).map(|i| 800 + i % 100);
    let slower = taking(normal(1_000).map(|ms| ms * 6 / 5));
    let slower = evidence(taking(normal(3_000)), slower);
    assert_eq!(
        of(&slower, &thresholds),
        (Some(Action::Rollback), Scenario::LatencyDegradation)
    );
    // Beyond a tenth more, and not beyond three times as many.
    let failing = evidence(
        failing(lane(20_000), Blame::Provider, 1_000),
        failing(lane(20_000), Blame::Provider, 2_000),
    );
    let analysis = analyse(&thresholds, &failing);
    assert_eq!(
        said(&analysis, "degradation").degraded,
        Some(Degraded::Errors)
    );
    assert_eq!(
        of(&failing, &thresholds),
        (Some(Action::Rollback), Scenario::ErrorRateSpike)
    );
}

#[test]
fn a_journal_from_before_it_was_told_is_read() {
    let mut thresholds = Thresholds::default();
    thresholds.degradation.action = Action::Rollback;
    let normal = |calls: u64| (0..calls).map(|i| 800 + i % 100);
    let slower = taking(normal(1_000).map(|ms| ms * 6 / 5));
    let analysis = analyse(&thresholds, &evidence(taking(normal(3_000)), slower));
    let mut json = serde_json::to_value(said(&analysis, "degradation")).expect("written");
    assert_eq!(json["degraded"], "latency");
    json.as_object_mut().expect("an object").remove("degraded");
    let read: Reason = serde_json::from_value(json).expect("read");
    assert_eq!(read.degraded, None);
}
