//! `dspex validate` on the shipped binary, with real workers of both pools.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::again::until;
use crate::endings::{Seen, descendants};
use crate::fleet;
use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;

/// What a tenth of a load on a machine that is busy with other tests can tell: that nothing is far
/// slower. The default limits are for a machine that does nothing else.
pub(crate) const TOLERANT: &str = r#"
[validation]
tolerance = "100%"
latency_floor = "1s"
recovery_limit = "15s"
[validation.quick]
users = 4
operations = 6
rounds = 7
most_rounds = 32
faults = 1
burst = 128
"#;

/// Waits until the server has the processes that it had before.
async fn nothing_left(house: &House, before: &[Seen]) {
    let began = Instant::now();
    loop {
        let more = more_than(house, before);
        if more.is_empty() {
            return;
        }
        assert!(began.elapsed() < LONG, "left: {more:?}\n{}", house.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The server's processes beside these.
fn more_than(house: &House, before: &[Seen]) -> Vec<Seen> {
    let mut now = descendants(u64::from(house.pid()));
    now.retain(|seen| !before.contains(seen));
    now
}

/// Runs `dspex validate --quick --json` without holding up the runtime.
async fn validate(house: &Arc<House>, more: &[&str]) -> (i32, Value, String) {
    let mut arguments = vec!["validate", "--quick", "--json"];
    arguments.extend(more);
    let mut command = house.command(&arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    (output.status.code().unwrap(), body, said)
}

fn failed(validation: &Value) -> Vec<&str> {
    let findings = validation["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["ok"] == false)
        .map(|finding| finding["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn two_pools_that_are_well_pass_under_traffic_that_does_not_notice() {
    let cases = r#"
[[validation.cases]]
program = "add"
inputs = { a = 2, b = 40 }
expect = { sum = 42 }
"#;
    let house = Arc::new(House::start(&format!("{TOLERANT}{cases}")).await);
    house.create("echo").await;
    house.create("add").await;
    let traffic = Traffic::start(&house, 2);
    let before = (
        descendants(u64::from(house.pid())),
        fleet::pool(&house, "v1").await,
    );
    let (code, validation, said) = validate(&house, &[]).await;
    assert_eq!(
        (code, failed(&validation)),
        (0, vec![]),
        "{validation:#}\n{said}"
    );
    assert_eq!(validation["state"], "passed");
    let names: Vec<&str> = validation["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["name"].as_str().unwrap())
        .collect();
    for name in [
        "sessions keep their state",
        "a session moves to the candidate and back",
        "case 1: add",
        "throughput",
        "recovers from a worker's crash",
        "loses nothing to more calls than it can take",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    nothing_left(&house, &before.0).await;
    let after = fleet::pool(&house, "v1").await;
    for figure in ["starts", "failures"] {
        assert_eq!(
            after[figure], before.1[figure],
            "{figure} of the pool that serves"
        );
    }
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test]
async fn a_candidate_without_a_module_that_the_catalog_needs_fails() {
    let configuration = rehearsal().replace("[pools.v2]\n", "[pools.v2]\npath = []\n") + TOLERANT;
    let mut house = House::with(&configuration);
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    let (code, validation, said) = validate(&house, &[]).await;
    assert_eq!(code, 1, "{validation:#}\n{said}");
    assert_eq!(
        failed(&validation),
        ["the catalog's programs are built alike"]
    );
    let told = validation.to_string();
    assert!(told.contains("the candidate cannot build echo"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_validated_is_refused_with_what_to_do() {
    let more = r#"
[pools.gone]
kind = "pool-v2"
python = "/no/such/python"
[[validation.cases]]
program = "absent"
"#;
    let house = Arc::new(House::start(more).await);
    let refused = |code: i32, said: &str, words: &str| {
        assert_eq!(code, 5, "{said}");
        assert!(said.contains(words), "{words:?} is missing: {said}");
    };
    let (code, _, said) = validate(&house, &["--candidate", "v22"]).await;
    refused(code, &said, "did you mean \"v2\"?");
    let (code, _, said) = validate(&house, &[]).await;
    refused(code, &said, "\"absent\"");
    house
        .create_as("absent", "fixture_programs:echo", true)
        .await;
    let (code, _, said) = validate(&house, &["--candidate", "gone"]).await;
    refused(code, &said, "/no/such/python");
    let (code, _, said) = validate(&house, &["--candidate", "v2@x"]).await;
    refused(code, &said, "names no version");
}

#[tokio::test]
async fn one_runs_at_a_time_and_one_that_is_cut_off_leaves_nothing() {
    let house = Arc::new(House::start(TOLERANT).await);
    let before = descendants(u64::from(house.pid()));
    let begun = house
        .post("/admin/v1/validations", json!({"run": "full"}))
        .await
        .ok(202);
    let path = format!("/admin/v1/validations/{}", begun["id"].as_str().unwrap());
    let (code, _, said) = validate(&house, &[]).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("runs already"), "{said}");
    let began = Instant::now();
    while more_than(&house, &before).is_empty() {
        assert!(
            began.elapsed() < LONG,
            "no pool is started: {}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = house.request("DELETE", &path);
    house.send(request).await.ok(202);
    nothing_left(&house, &before).await;
    let ended = until(&house, &path, "end", |run| run["state"] != "running").await;
    assert_eq!(ended["state"], "cancelled", "{ended:#}");
    assert!(ended["ended_at"].is_string());
    let listed = house.get("/admin/v1/validations").await.ok(200);
    assert_eq!(listed["validations"][0]["id"], begun["id"]);
    house
        .get("/admin/v1/validations/v-none")
        .await
        .problem(404, "v-none");
}

/// A migration under traffic, validated at its end, until it is as wanted.
async fn migrated(cases: &str, wanted: fn(&Value) -> bool) -> (Value, String) {
    let none = r#"validation = { run = "none" }"#;
    let configuration = rehearsal();
    assert!(configuration.contains(none), "{configuration}");
    let quick = r#"validation = { run = "quick", on_failure = "pause" }"#;
    let mut house = House::with(&(configuration.replace(none, quick) + TOLERANT + cases));
    house.open().await;
    let house = Arc::new(house);
    house.create("echo").await;
    house.create("add").await;
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    let began = Instant::now();
    let end = loop {
        let now = house.migration().await;
        if wanted(&now) {
            break now;
        }
        assert!(
            began.elapsed() < LONG + LONG / 2,
            "{now:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
    let path = format!(
        "/admin/v1/migrations/{}/events?limit=1000",
        end["id"].as_str().unwrap()
    );
    let events = house.get(&path).await.ok(200);
    (end, events.to_string())
}

#[tokio::test]
async fn a_migration_is_complete_once_its_validation_has_passed() {
    let (end, events) = migrated("", |now| now["phase"] == "complete").await;
    assert_eq!(end["percent"], 100.0, "{end:#}");
    assert!(
        events.contains("recovers from a worker's crash"),
        "{events}"
    );
}

#[tokio::test]
async fn a_migration_pauses_where_its_validation_fails() {
    let case = "[[validation.cases]]\nprogram = \"add\"\ninputs = { a = 1, b = 1 }\nexpect = { sum = 3 }\n";
    let (paused, _) = migrated(case, |now| !now["paused"].is_null()).await;
    assert_eq!(paused["phase"], "validate", "{paused:#}");
    assert_eq!(paused["percent"], 100.0, "{paused:#}");
    assert!(
        paused["paused"].to_string().contains("case 1: add"),
        "{paused:#}"
    );
}
