//! `dspex migrate`: what is asked for, and a watch from the first event to the exit code.

use serde_json::{Value, json};

use super::fake_server::{Answer, FakeServer};
use super::run::dspex;

fn status() -> Answer {
    Answer::json(
        200,
        &json!({"id": "m-1", "phase": "rollout", "stable": "v1", "candidate": "v2", "percent": 5,
            "paused": null, "started_at": "2026-01-02T03:04:05Z", "stages": []}),
    )
}

fn entry(seq: u64, event: &Value) -> Value {
    json!({"seq": seq, "at": "2026-01-02T03:04:05Z", "event": event})
}

fn page(entries: &[Value]) -> Answer {
    Answer::json(200, &json!({"events": entries}))
}

fn begin() -> Vec<Value> {
    let plan = dspex_migration::Settings::default();
    let plan = plan.plan("v1", "v2", Some(3600.0)).unwrap();
    vec![
        entry(
            1,
            &json!({"type": "started", "plan": plan, "who": "ada", "why": "try"}),
        ),
        entry(
            2,
            &json!({"type": "stage_entered", "stage": 0, "percent": 5, "waived": false}),
        ),
        entry(
            3,
            &json!({"type": "ticked", "credit_ms": 0, "calls_stable": 95, "calls_candidate": 5,
                "analysis": {"verdict": "inconclusive", "reasons": [{"rule": "minimum_samples",
                "verdict": "inconclusive", "text": "waiting for 45 more calls"}]}}),
        ),
    ]
}

#[test]
fn a_watch_tells_every_change_and_ends_with_0_when_complete() {
    let end = [
        entry(
            4,
            &json!({"type": "stage_left", "stage": 0, "calls_stable": 0, "calls_candidate": 0,
            "cause": {"by": "controller", "why": "seen healthy for 1s"}}),
        ),
        entry(5, &json!({"type": "completed"})),
    ];
    let server = FakeServer::start(vec![
        status(),
        page(&begin()),
        page(&[]),
        page(&end),
        page(&[]),
    ]);
    let url = server.url();
    let ran = dspex(&["migrate", "watch", "--interval", "10ms", "--url", &url]).ends_with(0);
    let at = "2026-01-02 03:04:05  ";
    assert_eq!(
        ran.out,
        format!(
            "{at}started by ada: v1 to v2 by 5 %, 10 %, 25 %, 50 %, 75 %, 100 % (try)\n\
             {at}stage 1: traffic goes to 5 %\n\
             {at}verdict inconclusive: waiting for 45 more calls\n\
             {at}stage 1 is over: seen healthy for 1s (95 calls on stable, 5 on the candidate: 5%)\n\
             {at}complete\n"
        )
    );
    let lines: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines[0], "GET /admin/v1/migrations/current");
    assert_eq!(
        lines[1],
        "GET /admin/v1/migrations/m-1/events?after=0&limit=1000"
    );
    assert_eq!(
        lines[3],
        "GET /admin/v1/migrations/m-1/events?after=3&limit=1000"
    );
}

#[test]
fn a_rolled_back_migration_ends_a_watch_with_1_and_json_is_a_line_an_event() {
    let events = [
        entry(
            1,
            &json!({"type": "rollback_began", "cause": {"by": "controller", "why": "errors"}}),
        ),
        entry(2, &json!({"type": "rolled_back"})),
    ];
    let server = FakeServer::start(vec![page(&events), page(&[])]);
    let url = server.url();
    let ran = dspex(&["migrate", "watch", "m-7", "--json", "--url", &url]).ends_with(1);
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, events);
    assert_eq!(ran.err, "");
}

#[test]
fn a_server_that_is_restarting_is_waited_for() {
    let starting = json!({"title": "Starting", "detail": "the server is starting its workers"});
    let server = FakeServer::start(vec![
        status(),
        Answer::json(503, &starting),
        page(&[entry(1, &json!({"type": "completed"}))]),
        page(&[]),
    ]);
    let url = server.url();
    dspex(&["migrate", "watch", "--interval", "10ms", "--url", &url])
        .ends_with(0)
        .says("starting its workers; waiting for it")
        .says("answers again");
    let server = FakeServer::start(vec![status(), Answer::json(503, &starting)]);
    let url = server.url();
    let line = [
        "migrate",
        "watch",
        "--interval",
        "10ms",
        "--patience",
        "50ms",
        "--url",
        &url,
    ];
    dspex(&line)
        .ends_with(1)
        .says("error: the server is starting");
}

#[test]
fn a_migration_is_started_with_who_why_and_its_scale() {
    let server = FakeServer::always(Answer::json(202, &json!({"id": "m-1"})));
    let line = [
        "migrate",
        "start",
        "--why",
        "rehearsal",
        "--time-scale",
        "600",
        "--candidate",
        "v2",
    ];
    let ran = dspex(&[&line[..], &["--url", &server.url()]].concat()).ends_with(0);
    assert!(ran.out.contains("m-1"), "{ran:?}");
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /admin/v1/migrations");
    assert_eq!(
        asked.body,
        json!({"why": "rehearsal", "who": "ada", "time_scale": 600.0, "candidate": "v2"})
    );
}

#[test]
fn commands_go_to_the_current_migration() {
    for (arguments, line, to_end) in [
        (&["pause"][..], "pause", Value::Null),
        (&["resume"], "resume", Value::Null),
        (&["rollback"], "rollback", Value::Null),
        (&["promote"], "promote", json!(false)),
        (&["promote", "--to-end"], "promote", json!(true)),
    ] {
        let server = FakeServer::always(status());
        let url = server.url();
        let line = format!("POST /admin/v1/migrations/current/{line}");
        let ran = dspex(&[&["migrate"], arguments, &["--why", "late", "--url", &url]].concat());
        let ran = ran.ends_with(0);
        assert!(ran.out.contains("m-1 is rollout"), "{ran:?}");
        let asked = server.asked_once();
        assert_eq!(asked.line, line);
        assert_eq!(asked.body["why"], "late");
        assert_eq!(asked.body["who"], "ada");
        assert_eq!(asked.body["to_end"], to_end);
    }
}

#[test]
fn a_second_migration_is_refused_with_the_servers_words() {
    let problem = json!({"title": "Conflict", "status": 409,
        "detail": "the migration m-1 is still under way", "hint": "roll it back, or wait for its end"});
    let server = FakeServer::always(Answer::json(409, &problem));
    dspex(&["migrate", "start", "--why", "x", "--url", &server.url()])
        .ends_with(5)
        .says("error: the migration m-1 is still under way")
        .says("hint: roll it back");
}

#[test]
fn without_a_migration_there_is_nothing_to_watch() {
    let server = FakeServer::always(Answer::json(200, &Value::Null));
    let url = server.url();
    dspex(&["migrate", "watch", "--url", &url])
        .ends_with(5)
        .says("no migration was ever started");
    let ran = dspex(&["migrate", "status", "--url", &url]).ends_with(0);
    assert_eq!(ran.out, "no migration was ever started\n");
}
