//! What a migration measures before it begins and before it sends traffic, on the shipped binary.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};

async fn until(house: &House, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let migration = house.migration().await;
        if wanted(&migration) {
            return migration;
        }
        assert!(
            began.elapsed() < LONG,
            "no {what}: {migration:#}\n{}",
            house.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn events(house: &House, migration: &Value) -> Value {
    let id = migration["id"].as_str().unwrap();
    house
        .get(&format!("/admin/v1/migrations/{id}/events"))
        .await
        .ok(200)
}

#[tokio::test]
async fn every_check_is_measured_and_what_is_needed_is_put_aside() {
    let house = House::start("").await;
    house.create("echo").await;
    house.start_migration().await;
    let begun = until(&house, "stage 1", |migration| migration["percent"] == 25.0).await;
    let events = events(&house, &begun).await.to_string();
    for check in [
        "python of v2@1",
        "modules of v2@1",
        "memory for both pools side by side",
        "file descriptors for both pools",
        "the server's port",
        "took a connection within",
        "processes and threads for both pools",
        "room on the disk",
        "the database can be written",
        "the database is migrated",
        "the clock runs steadily",
        "the clock is not behind",
        "no other migration is under way",
        "each worker of the candidate answers a call",
        "the candidate is about as fast as stable",
        "a call on the candidate is seen in the metrics",
        "the candidate recovers from a crash of a worker",
        "CPython",
        "fixture_programs",
    ] {
        assert!(events.contains(check), "{check:?} is missing: {events}");
    }
    assert!(!events.contains("not measured: "), "{events}");
    let listed = house.run(&["backup", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let backup = &listed["backups"][0];
    let id = begun["id"].as_str().unwrap();
    assert!(backup["reason"].as_str().unwrap().contains(id), "{listed}");
    let file = backup["file"].as_str().unwrap();
    assert!(
        events.contains(file),
        "the journal tells the place: {events}"
    );
    let proven = house.run(&["backup", "verify", file]);
    assert!(proven.status.success(), "{proven:?}");
}

#[tokio::test]
async fn a_candidate_whose_environment_lacks_a_module_does_not_begin() {
    // Stable finds the module by its own path; the candidate's hides it.
    let configuration = rehearsal().replace("[pools.v2]\n", "[pools.v2]\npath = [\"/nowhere\"]\n");
    let mut house = House::with(&configuration);
    house.open().await;
    house.create("echo").await;
    house.start_migration().await;
    let end = until(&house, "end", |migration| {
        migration["phase"] == "rolled_back"
    })
    .await;
    let events = events(&house, &end).await.to_string();
    assert!(
        events.contains("not fixture_programs (ModuleNotFoundError"),
        "{events}"
    );
    let answer = house.execute("echo", "s", json!({"text": "x"})).await;
    assert_eq!(answer.lane.as_deref(), Some("stable"));
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_stops_the_migration_before_it_begins() {
    let house = House::start("").await;
    house.create("echo").await;
    // A file where the folder of backups should be: nothing can be put aside.
    std::fs::write(house.path("data/backups"), "in the way").unwrap();
    house.start_migration().await;
    let end = until(&house, "end", |migration| {
        migration["phase"] == "rolled_back"
    })
    .await;
    let events = events(&house, &end).await.to_string();
    assert!(events.contains("backups"), "{events}");
    let status = house.get("/v1/status").await.ok(200);
    assert_eq!(status["lanes"]["candidate"], Value::Null, "{status:#}");
}

#[test]
fn doctor_measures_modules_memory_processes_and_the_clock() {
    let house = House::with(&rehearsal());
    let output = house.run(&["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = found["checks"].as_array().unwrap();
    for name in [
        "modules of v1",
        "modules of v2",
        "memory for both pools side by side",
        "file descriptors for both pools side by side",
        "processes and threads for both pools side by side",
        "the clock is not behind",
    ] {
        let check = checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("{name} is missing: {found:#}"));
        assert_eq!(check["verdict"], "ok", "{check:#}");
    }
    assert!(!house.path("data").exists(), "looking makes nothing");
    let hidden = rehearsal().replace("path = [", "path = [\"/nowhere\"]\n#");
    let output = House::with(&hidden).run(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("ModuleNotFoundError"), "{text}");
}
