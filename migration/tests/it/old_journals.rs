//! Journals of versions that knew less: they are read, and gone on with.

use dspex_migration::{Act, Entry, MigrationId, Phase, State, Step, Validate};

const PLAN: &str = r#"{"candidate":"v2","stable":"v1","stages":[{"percent":"5%","hold":"1h"},
    {"percent":"100%","hold":"1h"}],"shadow":"0%","interval":"5s","window":"1m","window_limit":"10m",
    "thresholds":{"minimum_samples":50},"drain_limit":"30s","acknowledge_within":"10s","step_limit":"5m"}"#;

/// A state after these events, as they were written before there were a backup, a validation and
/// an end of the old pool.
fn replayed(events: &[&str]) -> State {
    let started = format!(r#"{{"type":"started","plan":{PLAN},"who":"ada","why":"newer"}}"#);
    let entries: Vec<Entry> = std::iter::once(started.as_str())
        .chain(events.iter().copied())
        .zip(1..)
        .map(|(event, seq)| {
            let entry = format!(r#"{{"seq":{seq},"at":"2026-01-02T03:04:05Z","event":{event}}}"#);
            serde_json::from_str(&entry).unwrap_or_else(|error| panic!("{error}: {entry}"))
        })
        .collect();
    State::replay(&MigrationId::from_text("m-1"), &entries).expect("replayed")
}

const UP: [&str; 3] = [
    r#"{"type":"step_done","step":"preflight","checks":[]}"#,
    r#"{"type":"step_done","step":"deploy","checks":[]}"#,
    r#"{"type":"step_done","step":"verify","checks":[]}"#,
];

#[test]
fn one_that_was_killed_before_its_deployment_makes_its_backup_first() {
    let state = replayed(&UP[..1]);
    assert_eq!(state.wants(), Some(Act::Step(Step::Backup)));
    assert_eq!(state.plan.validation.run, Validate::None);
}

#[test]
fn one_that_was_deployed_goes_on_from_there() {
    let state = replayed(&UP[..2]);
    assert_eq!(state.wants(), Some(Act::Step(Step::Verify)));
}

#[test]
fn one_that_was_complete_is_complete_and_may_be_rolled_back() {
    let mut events = UP.to_vec();
    events.extend([
        r#"{"type":"stage_entered","stage":0,"percent":"5%","waived":false}"#,
        r#"{"type":"traffic_set","percent":"5%","revision":7}"#,
        r#"{"type":"stage_left","stage":0,"cause":{"by":"person","who":"ada","why":"go"},
            "calls_stable":1,"calls_candidate":2}"#,
        r#"{"type":"stage_entered","stage":1,"percent":"100%","waived":true}"#,
        r#"{"type":"traffic_set","percent":"100%","revision":8}"#,
        r#"{"type":"stage_left","stage":1,"cause":{"by":"controller","why":"seen"},
            "calls_stable":1,"calls_candidate":2}"#,
        r#"{"type":"completed"}"#,
    ]);
    let state = replayed(&events);
    assert_eq!(state.phase, Phase::Complete);
    assert!(state.may_roll_back() && state.wants_candidate());
    events
        .push(r#"{"type":"rollback_began","cause":{"by":"person","who":"ada","why":"it burns"}}"#);
    let state = replayed(&events);
    assert_eq!(state.wants(), Some(Act::Zero));
    assert_eq!(state.scenario, None);
}
