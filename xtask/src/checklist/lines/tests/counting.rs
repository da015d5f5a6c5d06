//! Counts of the same calls, by the journal and by the metrics.

use super::running::{ago, server, verdict, with};
use super::*;

/// A server in its stage, after three looks at so many calls each, and with so many calls on the candidate
/// in its metrics.
fn counting((stable, candidate): (u64, u64), told: u64) -> Server {
    let mut server = server(5.0, &[json!([]), json!([]), json!([])]);
    for entry in &mut server.events {
        if entry["event"]["type"] == "ticked" {
            entry["event"]["calls_stable"] = json!(stable);
            entry["event"]["calls_candidate"] = json!(candidate);
        }
    }
    server.migration["phase"] = json!("rollout");
    server.earlier = Some(Vec::new());
    server.metrics = format!("dspex_calls_total{{lane=\"candidate\",outcome=\"ok\"}} {told}\n");
    server
}

#[test]
fn counts_of_the_same_calls_agree_both_ways() {
    // Three looks of fifty calls each; as many again may have come since, twice.
    let calls = (950, 50);
    for (told, expected) in [
        (149, Verdict::Failed),
        (150, Verdict::Passed),
        (250, Verdict::Passed),
        (251, Verdict::Failed),
    ] {
        assert_eq!(
            verdict(counting(calls, told), "telemetry"),
            expected,
            "{told}"
        );
    }
    let mut complete = counting(calls, 5_000);
    complete.migration["phase"] = json!("complete");
    assert_eq!(verdict(complete, "telemetry"), Verdict::Passed);
    let mut before = counting(calls, 5_000);
    before.earlier = Some(vec![json!({ "id": "older", "ended_at": ago(950) })]);
    assert_eq!(verdict(before, "telemetry"), Verdict::Passed);
}

#[test]
fn a_restart_makes_no_failure() {
    // The server began between the first look and the second: two looks are its own.
    let mut server = counting((950, 50), 100);
    server.status["started_at"] = json!(ago(685));
    let finding = judged(&with(server), "telemetry");
    let says = "100 calls in the journal, 100 in the metrics";
    assert!(finding.value.contains(says), "{finding:?}");
    // How many calls failed over before it is not known, so the stage's share is not judged.
    assert_eq!(finding.verdict, Verdict::Open, "{finding:?}");
    assert!(
        finding.value.contains("no stage with 1,000 calls"),
        "{finding:?}"
    );
}

#[test]
fn a_share_is_as_old_as_its_stage() {
    let calls = (9_500, 500);
    let finding = judged(&with(counting(calls, 1_500)), "telemetry");
    assert_eq!(finding.verdict, Verdict::Passed, "{finding:?}");
    assert_eq!(finding.evidence[0].age.as_deref(), Some("1 min"));
    let mut server = counting(calls, 1_500);
    server.migration["stages"][0]["left_at"] = json!(ago(7_200));
    assert_eq!(verdict(server, "telemetry"), Verdict::Open);
}

#[test]
fn a_share_is_off_by_no_more_than_chance_leaves() {
    for (candidate, expected) in [
        (500, Verdict::Passed),
        (545, Verdict::Passed),
        (600, Verdict::Failed),
        (1_000, Verdict::Failed),
    ] {
        let calls = (10_000 - candidate, candidate);
        let server = counting(calls, 3 * candidate);
        assert_eq!(
            verdict(server, "telemetry"),
            expected,
            "{candidate} of 10,000"
        );
    }
}

#[test]
fn calls_that_were_dealt_by_the_share_before_are_not_of_this_one() {
    let mut server = counting((9_500, 500), 1_500);
    let mut looks = server.events.iter_mut();
    let first = looks.find(|entry| entry["event"]["type"] == "ticked");
    let first = first.expect("a look");
    first["event"]["calls_stable"] = json!(90_000);
    assert_eq!(verdict(server, "telemetry"), Verdict::Passed);
    // Calls of a minute: none of those that came in the minute after the first look is counted.
    let mut slow = counting((9_500, 500), 1_500);
    for entry in &mut slow.events {
        if entry["event"]["type"] == "ticked" {
            entry["event"]["analysis"]["stable"]["p99_ms"] = json!(60_000.0);
        }
    }
    let finding = judged(&with(slow), "telemetry");
    assert_eq!(finding.verdict, Verdict::Open, "{finding:?}");
}
