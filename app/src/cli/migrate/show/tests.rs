//! Migrations in words, against the text that people read.

use dspex_migration::{Cause, Step};
use serde_json::json;

use super::*;

const PLAIN: Paint = Paint::PLAIN;

fn entry(event: Value) -> Entry {
    Entry {
        seq: 1,
        at: "2026-01-02T03:04:05Z".to_owned(),
        event,
    }
}

#[test]
fn a_status_tells_where_it_is_and_why() {
    let body = json!({"id": "m-1", "phase": "rollout", "stable": "v1", "candidate": "v2",
        "percent": 10.0, "stage": 1, "stage_count": 6, "healthy_for": "3s", "hold": "10s", "who": "ada", "why": "try",
        "started_at": "2026-01-02T03:04:05.5Z", "paused": null, "outcome": null,
        "reasons": ["needs 38 more calls", "not judged"],
        "analysis": {"verdict": "inconclusive", "reasons": [
            {"rule": "minimum_samples", "verdict": "inconclusive", "text": "needs 38 more calls"},
            {"rule": "p99_ratio", "verdict": "healthy", "text": "not judged"}]},
        "stages": [
            {"percent": 5, "hold": "10s", "healthy": "10s", "left_at": "2026-01-02T03:05:05Z",
             "calls_stable": 95, "calls_candidate": 5, "measured_percent": 5.0},
            {"percent": 10, "hold": "10s", "healthy": "3s", "calls_stable": 9, "calls_candidate": 0,
             "measured_percent": null}]});
    let read: Status = Deserialize::deserialize(&body).unwrap();
    assert_eq!(
        status(Some(&read), PLAIN),
        "m-1 is rollout, 10% of traffic on v2\n\
         started 2026-01-02 03:04:05 by ada: try\n\
         stage 2 of 6: seen healthy for 3s of 10s\n\
         verdict inconclusive\n  needs 38 more calls\n  not judged\n\
         STAGE  TRAFFIC  MEASURED  STABLE CALLS  CANDIDATE CALLS  HEALTHY\n\
         1      5%       5%        95            5                10s of 10s  left\n\
         2      10%      -         9             0                3s of 10s   here"
    );
}

#[test]
fn a_status_at_the_end_tells_how_it_ended() {
    let body = json!({"id": "m-1", "phase": "rolled_back", "stable": "v1", "candidate": "v2", "percent": 0,
        "stage": 1, "hold": null, "who": "ada", "why": "try", "started_at": "2026-01-02T03:04:05Z",
        "ended_at": "2026-01-02T03:05:00Z", "outcome": "rolled back: too many errors"});
    let read: Status = Deserialize::deserialize(&body).unwrap();
    assert_eq!(
        status(Some(&read), PLAIN),
        "m-1 is rolled_back, 0% of traffic on v2\n\
         started 2026-01-02 03:04:05 by ada: try; ended 2026-01-02 03:05:00\n\
         rolled back: too many errors"
    );
    assert_eq!(
        history(&[read], PLAIN),
        "ID   POOLS     PHASE        STARTED              ENDED                WHO  WHY  OUTCOME\n\
         m-1  v1 to v2  rolled_back  2026-01-02 03:04:05  2026-01-02 03:05:00  ada  try  rolled back: too many errors"
    );
}

#[test]
fn an_event_is_told_in_its_own_words_and_a_look_by_its_verdict() {
    let cause = Cause::Controller {
        why: "too many errors".to_owned(),
    };
    for event in [
        Event::StepDone {
            step: Step::Deploy,
            checks: Vec::new(),
            saved: None,
            removed: None,
        },
        Event::RollbackBegan {
            cause,
            scenario: None,
            snapshot: None,
        },
        Event::RolledBack,
    ] {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(told(&entry(json)).0, event.to_string());
    }
    let look = json!({"type": "ticked", "analysis": {"verdict": "healthy", "reasons": [
        {"rule": "cpu", "verdict": "healthy", "value": 0.9, "text": "CPU is at 90 %"},
        {"rule": "p99_ratio", "verdict": "healthy", "value": null, "text": "not judged"}]}});
    assert_eq!(told(&entry(look)).0, "verdict healthy: CPU is at 90 %");
}

#[test]
fn an_event_of_a_newer_server_is_shown_as_it_is() {
    let event = json!({"type": "sung", "song": "la"});
    assert_eq!(told(&entry(event.clone())).0, event.to_string());
}

#[test]
fn spans_are_rounded_to_what_people_read() {
    for (given, shown) in [
        (json!("1s 1ms"), "1s"),
        (json!("1h 30m 2s 7ms"), "1h 30m 2s"),
        (json!("250ms"), "250ms"),
        (json!(2.5), "2s"),
        (json!(null), "-"),
        (json!("soon"), "soon"),
    ] {
        assert_eq!(span(&given), shown);
    }
}

#[test]
fn nothing_to_show_is_said() {
    assert_eq!(status(None, PLAIN), "no migration was ever started");
    assert_eq!(history(&[], PLAIN), "no migration was ever started");
    assert_eq!(events(&[], PLAIN), "no events");
}
