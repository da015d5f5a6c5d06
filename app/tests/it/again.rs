//! What follows a migration: the way back from warm and from cold, the old pool's end, and the same
//! machine once more, from V2 to V2.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, python, rehearsal};
use crate::traffic::Traffic;

/// The configuration for rehearsals, with the old pool kept warm for so long.
pub(crate) fn retaining(warm: &str) -> String {
    rehearsal()
        + &format!("\n[migration.retention]\nwarm = {warm:?}\ndecommission_after = \"300ms\"\n")
}

/// Waits until the server's answer at this path is as wanted.
pub(crate) async fn until(
    house: &House,
    path: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let answer = house.get(path).await.ok(200);
        if wanted(&answer) {
            return answer;
        }
        assert!(
            began.elapsed() < LONG,
            "no {what}: {answer:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) const MIGRATION: &str = "/admin/v1/migrations/current";

/// Waits until the migration is in this phase.
pub(crate) async fn phase(house: &House, phase: &str) -> Value {
    until(house, MIGRATION, phase, |migration| {
        migration["phase"] == phase
    })
    .await
}

/// Gives the newest migration a command.
pub(crate) async fn steer(house: &House, word: &str) {
    let path = format!("{MIGRATION}/{word}");
    house.post(&path, json!({"why": "a test"})).await.ok(200);
}

/// Why a decommission that is wanted may be refused for a while: the time for it has not come, the candidate
/// was not looked at for long enough, or a command that was kept before was taken since the phase was read.
const NOT_NOW: [&str; 4] = [
    "was seen to serve all traffic for",
    "was not looked at yet",
    "is not seen healthy",
    "decommissioned already",
];

/// Asks for the decommission until it has begun. Where a command was kept already, such as one by a server
/// that was killed, it may be taken at any moment.
pub(crate) async fn ask_for_the_end(house: &House) {
    let began = Instant::now();
    let path = format!("{MIGRATION}/decommission");
    while house.migration().await["phase"] == "complete" {
        let answer = house.post(&path, json!({"why": "a test"})).await;
        assert!(began.elapsed() < LONG, "{answer:?}\n{}", house.log());
        if answer.status != 200 {
            let refused = answer.problem(409, "command-refused").to_string();
            let later = NOT_NOW.iter().any(|why| refused.contains(why));
            assert!(later, "{refused}\n{}", house.log());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Decommissions once the time for it has come, and waits for the end.
pub(crate) async fn decommission(house: &House) {
    ask_for_the_end(house).await;
    phase(house, "decommissioned").await;
}

pub(crate) async fn pools(house: &House) -> (Value, Value) {
    let status = house.get("/v1/status").await.ok(200);
    (
        status["pools"]["stable"].clone(),
        status["pools"]["candidate"].clone(),
    )
}

/// The callable that counts its session's calls, which no pool's end may lose.
async fn tally(house: &House) {
    let body = json!({"id": "tally", "kind": "callable", "target": "fixture_programs:Tally",
        "repeatable": true, "stateful": true});
    house.post("/v1/programs", body).await.ok(201);
}

async fn counted(house: &House) -> Value {
    let answer = house.execute("tally", "ada", json!({"n": 1})).await;
    answer.ok(200)["outputs"]["calls"].clone()
}

#[tokio::test]
async fn a_complete_migration_is_taken_back_at_once_while_the_old_pool_is_warm() {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    phase(&house, "complete").await;
    assert_eq!(pools(&house).await, (json!("v1@1"), json!("v2@1")));
    let began = Instant::now();
    steer(&house, "rollback").await;
    until(&house, "/v1/status", "0 % served", |status| {
        status["flags"]["values"]["gradual_rollout_percentage"] == 0.0
            && status["flags"]["revision"] == status["flags"]["served_revision"]
    })
    .await;
    let took = began.elapsed();
    // Far below the time for which calls in flight on the candidate are waited for.
    assert!(took < Duration::from_secs(15), "{took:?}");
    phase(&house, "rolled_back").await;
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"));
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(pools(&house).await, (json!("v1@1"), Value::Null));
}

#[tokio::test]
async fn a_complete_migration_is_taken_back_from_cold_and_no_caller_pays() {
    let mut house = House::with(&retaining("300ms"));
    house.open().await;
    let shared = Arc::new(house);
    shared.create("echo").await;
    let rests = |status: &Value| status["lanes"]["stable"]["resting"] == true;
    let traffic = Traffic::start(&shared, 4);
    shared.start_migration().await;
    phase(&shared, "complete").await;
    let cold = until(&shared, "/v1/status", "rest", rests).await;
    assert_eq!(cold["ready"], true, "{cold:#}");
    assert!(
        cold["lanes"]["stable"]["workers"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    // Programs are still made, by the pool that serves, and the other is not woken for it.
    shared.create("add").await;
    // It is kept so over a restart, once it is written down.
    let id = shared.migration().await["id"].as_str().unwrap().to_owned();
    let events = format!("/admin/v1/migrations/{id}/events?after=0&limit=1000");
    until(&shared, &events, "rest in the journal", |events| {
        events.to_string().contains("\"type\":\"rested\"")
    })
    .await;
    assert!(traffic.stop().await.is_empty());
    let mut house = Arc::into_inner(shared).unwrap();
    house.kill();
    house.open().await;
    let again = house.get("/v1/status").await.ok(200);
    assert!(rests(&again), "{again:#}");
    let house = Arc::new(house);
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("candidate"), "{answer:?}");
    let traffic = Traffic::start(&house, 4);
    steer(&house, "rollback").await;
    phase(&house, "rolled_back").await;
    until(&house, "/v1/status", "waking", |status| {
        !rests(status) && status["lanes"]["stable"]["ready"] == 2
    })
    .await;
    let before = traffic.answered();
    while traffic.answered() < before + 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}\n{}", house.log());
    let answer = house.execute("add", "s", json!({"a": 1, "b": 2})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"), "{answer:?}");
}

/// Another interpreter, as another venv would be.
fn another_python(folder: &Path) -> String {
    let interpreter = folder.join("another-python");
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", python());
    std::fs::write(&interpreter, script).unwrap();
    std::fs::set_permissions(&interpreter, std::fs::Permissions::from_mode(0o755)).unwrap();
    interpreter.display().to_string()
}

#[tokio::test]
async fn after_v1_the_same_machine_takes_v2_to_another_v2() {
    let mut house = House::with(&retaining("20s"));
    house.open().await;
    let shared = Arc::new(house);
    shared.create("echo").await;
    tally(&shared).await;
    assert_eq!(counted(&shared).await, 1);
    let traffic = Traffic::start(&shared, 4);
    shared.start_migration().await;
    phase(&shared, "complete").await;
    assert_eq!(counted(&shared).await, 2);
    decommission(&shared).await;
    assert_eq!(pools(&shared).await, (json!("v2@1"), Value::Null));
    assert_eq!(counted(&shared).await, 3);
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}\n{}", shared.log());
    let metrics = shared.get("/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    assert!(
        !metrics.contains("pool=\"v1\",state=\"ready\"} 2"),
        "{metrics}"
    );

    // The file still says v1; what the migration has left is stable.
    let mut house = Arc::into_inner(shared).unwrap();
    house.terminate();
    assert!(house.ended().await.success(), "{}", house.log());
    house.open().await;
    assert!(
        house
            .log()
            .contains("stable is v2@1, as a migration left it"),
        "{}",
        house.log()
    );
    let checked = house.run(&["config", "check"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("stable is v2@1 all the same"), "{checked}");
    let shared = Arc::new(house);
    assert_eq!(pools(&shared).await, (json!("v2@1"), Value::Null));
    assert_eq!(counted(&shared).await, 4);

    // Another V2: more workers, another interpreter.
    let interpreter = another_python(&shared.path(""));
    let section = format!("[pools.v2]\nworkers = 2\nconcurrency = 4\npython = {interpreter:?}\n");
    std::fs::write(shared.path("v2.toml"), section).unwrap();
    let put = [
        "pools",
        "put",
        "v2",
        "--file",
        "v2.toml",
        "--why",
        "a venv of its own",
    ];
    let made = shared.run(&put);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success() && said.contains("v2@2"), "{made:?}");
    let listed = shared.run(&["pools", "configurations", "v2"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        listed.contains("v2@2") && listed.contains("another-python"),
        "{listed}"
    );
    let same = shared
        .post(
            "/admin/v1/migrations",
            json!({"why": "x", "candidate": "v2@1"}),
        )
        .await;
    same.problem(422, "v2@1 serves as stable already");

    let traffic = Traffic::start(&shared, 4);
    let start = json!({"why": "another V2", "candidate": "v2@2"});
    shared.post("/admin/v1/migrations", start).await.ok(201);
    let complete = phase(&shared, "complete").await;
    assert_eq!(complete["percent"], 100.0);
    assert_eq!(pools(&shared).await, (json!("v2@1"), json!("v2@2")));
    assert_eq!(counted(&shared).await, 5);
    let both = shared.get("/admin/v1/pools").await.ok(200);
    let v2 = both["configured"].as_array().unwrap();
    let v2 = v2.iter().find(|pool| pool["name"] == "v2").unwrap();
    assert_eq!(
        (&v2["newest"], &v2["standing"]),
        (&json!(2), &json!([1, 2]))
    );
    decommission(&shared).await;
    assert_eq!(pools(&shared).await, (json!("v2@2"), Value::Null));
    assert_eq!(counted(&shared).await, 6);
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}\n{}", shared.log());
    let pool = shared.get("/admin/v1/pools/v2").await.ok(200);
    assert_eq!(
        (&pool["version"], &pool["status"]["size"]),
        (&json!(2), &json!(2))
    );

    let mut house = Arc::into_inner(shared).unwrap();
    house.kill();
    house.open().await;
    assert_eq!(pools(&house).await, (json!("v2@2"), Value::Null));
    assert_eq!(counted(&house).await, 7);
}
