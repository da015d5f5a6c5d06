//! Migrations on the shipped binary, under traffic.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::again;
use crate::house::{House, LONG, python, rehearsal};
use crate::traffic::Traffic;

/// Waits until the migration is as wanted.
async fn until(house: &House, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let migration = house.migration().await;
        if wanted(&migration) {
            return migration;
        }
        // A whole migration, which takes a busy machine a minute.
        assert!(
            began.elapsed() < LONG + LONG / 2,
            "no {what}: {migration:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn healthy(migration: &Value) -> Duration {
    humantime::parse_duration(migration["healthy_for"].as_str().unwrap()).unwrap()
}

fn is(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |migration| migration["phase"] == phase
}

/// A flag's value in the answer of `/admin/v1/flags`.
fn value(flags: &Value, key: &str) -> Value {
    let flags = flags["flags"].as_array().unwrap();
    let flag = flags.iter().find(|flag| flag["key"] == key);
    flag.expect("every flag is listed")["value"].clone()
}

fn percents(migration: &Value) -> Vec<f64> {
    let stages = migration["stages"].as_array().unwrap().iter();
    stages
        .map(|stage| stage["percent"].as_f64().unwrap())
        .collect()
}

#[tokio::test]
async fn live_traffic_moves_to_the_candidate_and_nobody_notices() {
    let house = Arc::new(House::start("").await);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 8);
    house.start_migration().await;
    let refused = house
        .post("/admin/v1/migrations", json!({"why": "me too"}))
        .await;
    refused.problem(409, "migration");
    let done = until(&house, "end", is("complete")).await;
    assert_eq!(done["percent"], 100.0, "{done:#}");
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("candidate"));
    assert!(traffic.answered() > 100, "there was traffic to move");
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let stages = done["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 2, "{done:#}");
}

#[tokio::test]
async fn a_candidate_that_crashes_is_taken_out_and_no_caller_pays() {
    let house = Arc::new(House::start("\n[pools.v2.env]\nFRAGILE = \"yes\"\n").await);
    house.create("echo").await;
    let body = json!({
        "id": "fragile", "kind": "callable",
        "target": "fixture_programs:fragile", "repeatable": true,
    });
    house.post("/v1/programs", body).await.ok(201);
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    // A moment later it may have had more already: nobody has called the program that is deadly there.
    until(&house, "traffic on the candidate", |migration| {
        migration["percent"].as_f64() >= Some(25.0)
    })
    .await;
    let mut rolled_back = false;
    let began = Instant::now();
    for call in 0.. {
        let session = format!("fragile-{call}");
        let answer = house
            .execute("fragile", &session, json!({"text": "x"}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let phase = house.migration().await["phase"].clone();
        if phase == "rolled_back" {
            rolled_back = true;
            break;
        }
        assert!(
            began.elapsed() < LONG,
            "{:#}\n{}",
            house.migration().await,
            house.log()
        );
    }
    assert!(rolled_back);
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let flags = house.get("/admin/v1/flags").await.ok(200);
    assert_eq!(value(&flags, "pool_v2_enabled"), json!(false), "{flags}");
    assert_eq!(
        value(&flags, "gradual_rollout_percentage").as_f64(),
        Some(0.0),
        "{flags}"
    );
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"));
}

#[tokio::test]
async fn a_killed_server_goes_on_where_the_migration_was() {
    // The second stage is long enough that it cannot be over before the kill, however long this test is kept
    // waiting.
    let stages = rehearsal().replace(
        r#"{ percent = "25%", hold = "1s" }"#,
        r#"{ percent = "10%", hold = "500ms" }, { percent = "25%", hold = "8s" }"#,
    );
    let mut house = House::with(&stages);
    house.open().await;
    house.create("echo").await;
    let shared = Arc::new(house);
    let traffic = Traffic::start(&shared, 4);
    shared.start_migration().await;
    let seen = until(&shared, "healthy time", |migration| {
        migration["percent"] == 25.0 && healthy(migration) >= Duration::from_secs(1)
    })
    .await;
    assert_eq!(percents(&seen), [10.0, 25.0], "{seen:#}");
    assert!(traffic.stop().await.is_empty());
    house = Arc::into_inner(shared).unwrap();
    house.kill();
    house.open().await;
    let after = house.migration().await;
    assert_eq!(after["id"], seen["id"]);
    assert_eq!(
        (&after["phase"], after["percent"].as_f64()),
        (&json!("rollout"), Some(25.0)),
        "{after:#}"
    );
    assert_eq!(percents(&after), [10.0, 25.0], "{after:#}");
    assert_eq!(
        after["stages"][0], seen["stages"][0],
        "what is behind it is not done again"
    );
    assert_eq!(
        after["stages"][1]["entered_at"], seen["stages"][1]["entered_at"],
        "the stage goes on"
    );
    assert!(healthy(&after) >= healthy(&seen), "{after:#}");
    assert!(
        healthy(&after) < Duration::from_secs(8),
        "time without a controller does not count: {after:#}"
    );
    let programs = house.get("/v1/programs").await.ok(200);
    assert_eq!(
        programs["programs"].as_array().unwrap().len(),
        1,
        "{programs}"
    );
    let house = Arc::new(house);
    let traffic = Traffic::start(&house, 4);
    let done = until(&house, "end", is("complete")).await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(percents(&done), [10.0, 25.0, 100.0], "{done:#}");
    assert_eq!(done["stages"][0], seen["stages"][0]);
}

#[tokio::test]
async fn a_candidate_that_is_broken_at_a_restart_serves_again_once_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let interpreter = folder.path().join("python3");
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", python());
    std::fs::write(&interpreter, script).unwrap();
    std::fs::set_permissions(&interpreter, std::fs::Permissions::from_mode(0o755)).unwrap();
    let of_its_own = format!("[pools.v2]\npython = {interpreter:?}");
    let mut house = House::with(&rehearsal().replace("[pools.v2]", &of_its_own));
    house.open().await;
    house.create("echo").await;
    house.start_migration().await;
    until(&house, "stage 1", |migration| {
        migration["percent"] == 25.0 && migration["acknowledged"] == true
    })
    .await;
    let promote = json!({"why": "a test", "to_end": true});
    house
        .post("/admin/v1/migrations/current/promote", promote)
        .await
        .ok(200);
    until(&house, "the last stage", |migration| {
        migration["percent"] == 100.0 && migration["acknowledged"] == true
    })
    .await;
    let served = async |house: &House, lane| {
        let answer = house.execute("echo", "s", json!({"text": "x"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.lane.as_deref() == Some(lane)
    };
    assert!(served(&house, "candidate").await);
    let before = house.get("/v1/status").await.ok(200);
    assert_eq!(before["candidate_trouble"], Value::Null, "{before:#}");

    house.kill();
    let away = folder.path().join("away");
    std::fs::rename(&interpreter, &away).unwrap();
    house.open().await;
    assert!(served(&house, "stable").await);
    let broken = house.get("/v1/status").await.ok(200);
    assert!(broken["candidate_trouble"].is_string(), "{broken:#}");
    assert_eq!(broken["lanes"]["candidate"], Value::Null, "{broken:#}");

    std::fs::rename(&away, &interpreter).unwrap();
    let began = Instant::now();
    while !served(&house, "candidate").await {
        assert!(began.elapsed() < LONG, "{}", house.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It serves a moment before that is said.
    let mended = again::until(&house, "/v1/status", "end of the trouble", |status| {
        status["candidate_trouble"].is_null()
    })
    .await;
    assert_eq!(mended["flags"]["revision"], before["flags"]["revision"]);
}

#[tokio::test]
async fn a_person_steers() {
    let house = Arc::new(House::start("").await);
    house.create("echo").await;
    house.start_migration().await;
    // Nobody calls: nothing may advance.
    until(&house, "stage 1", |migration| {
        migration["percent"] == 25.0 && migration["acknowledged"] == true
    })
    .await;
    let steer = |word: &str| {
        let path = format!("/admin/v1/migrations/current/{word}");
        let house = Arc::clone(&house);
        async move { house.post(&path, json!({"why": "a test"})).await.ok(200) }
    };
    steer("pause").await;
    until(&house, "pause", |migration| !migration["paused"].is_null()).await;
    steer("resume").await;
    until(&house, "resumption", |migration| {
        migration["paused"].is_null() && migration["acknowledged"] == true
    })
    .await;
    steer("promote").await;
    until(&house, "promotion", |migration| {
        migration["percent"] == 100.0
    })
    .await;
    steer("rollback").await;
    let end = until(&house, "end", is("rolled_back")).await;
    assert_eq!(end["percent"], 0.0, "{end:#}");
    let path = "/admin/v1/migrations/current/pause";
    house
        .post(path, json!({"why": "too late"}))
        .await
        .problem(409, "rolled");
    let id = end["id"].as_str().unwrap();
    let events = house
        .get(&format!("/admin/v1/migrations/{id}/events"))
        .await
        .ok(200);
    assert!(
        events.to_string().contains("a test"),
        "who and why are kept: {events}"
    );
}

#[tokio::test]
async fn without_traffic_nothing_advances_and_it_says_what_it_lacks() {
    let house = House::start("").await;
    house.create("echo").await;
    house.start_migration().await;
    let held = until(&house, "verdict", |migration| {
        migration
            .to_string()
            .contains("more calls on the candidate")
    })
    .await;
    assert_eq!(held["percent"], 25.0, "{held:#}");
}

#[tokio::test]
async fn a_termination_lets_calls_in_flight_finish() {
    let mut house = House::start("").await;
    house.create("waits_for_file").await;
    let gate = house.path("gate");
    let call = house.execute("waits_for_file", "s", json!({"path": gate}));
    let rest = async {
        loop {
            let status = house.get("/v1/status").await.ok(200);
            if status["lanes"]["stable"]["in_flight"] == 1 {
                break;
            }
        }
        house.terminate();
        while house.log().matches("drain").count() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::write(&gate, "").unwrap();
    };
    let (answer, ()) = tokio::join!(call, rest);
    answer.ok(200);
    assert!(house.ended().await.success());
}
