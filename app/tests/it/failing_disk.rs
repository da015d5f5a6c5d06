//! A disk that answers each sync with an I/O error, under the shipped binary, in the middle of a
//! stage under traffic: callers notice nothing, the controller holds, then goes on.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};
use crate::traffic::Traffic;

/// A server whose disk fails while the file `disk-fails` is there, in a stage of 25 % that has been seen
/// healthy for a while.
async fn in_a_stage(hold: &str) -> House {
    let stages = rehearsal().replace(
        r#"{ percent = "25%", hold = "1s" }"#,
        &format!(r#"{{ percent = "25%", hold = "{hold}" }}"#),
    );
    let mut house = House::with(&stages);
    let library = house.path("failing_disk.so");
    build(&library);
    let file = house.path("disk-fails");
    let spoil = |server: &mut Command| {
        server
            .env("LD_PRELOAD", &library)
            .env("DISK_FAILS_WHILE", &file);
    };
    house.open_with(spoil).await;
    house.create("echo").await;
    house
}

/// With the compiler that links this very test.
#[expect(
    clippy::disallowed_methods,
    reason = "the test builds what its server is started with"
)]
fn build(library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/failing_disk.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .args([library, source.as_path()])
        .output()
        .expect("cc is there, where Rust links");
    assert!(built.status.success(), "{built:?}");
}

fn fail(house: &House, fails: bool) {
    let file = house.path("disk-fails");
    if fails {
        std::fs::write(file, "").unwrap();
    } else {
        std::fs::remove_file(file).unwrap();
    }
}

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

fn healthy(migration: &Value) -> Duration {
    humantime::parse_duration(migration["healthy_for"].as_str().unwrap()).unwrap()
}

fn holds(migration: &Value) -> bool {
    migration["reasons"].to_string().contains("disk I/O error")
}

async fn kinds(house: &House) -> Vec<(u64, String)> {
    let id = house.migration().await["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/v1/migrations/{id}/events?limit=1000");
    let events = house.get(&path).await.ok(200);
    let events = events["events"].as_array().unwrap().iter();
    events
        .map(|entry| {
            let kind = entry["event"]["type"].as_str().unwrap().to_owned();
            (entry["seq"].as_u64().unwrap(), kind)
        })
        .collect()
}

/// Calls that are answered from now on, until there are as many as this.
async fn answered(traffic: &Traffic, calls: u64) {
    let (before, began) = (traffic.answered(), Instant::now());
    while traffic.answered() < before + calls {
        assert!(began.elapsed() < LONG, "{} answered", traffic.answered());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn traffic_goes_on_the_controller_holds_and_nothing_claimed_is_lost() {
    // Half of the hold is left where the disk begins to fail, so that the stage is not over by then.
    let (hold, half) = (Duration::from_secs(10), Duration::from_secs(5));
    let shared = Arc::new(in_a_stage("10s").await);
    let traffic = Traffic::start(&shared, 4);
    shared.start_migration().await;
    until(&shared, "healthy time", |migration| {
        migration["percent"] == 25.0 && healthy(migration) >= half
    })
    .await;
    fail(&shared, true);
    let held = until(&shared, "trouble", holds).await;
    // Longer than what is left of the hold, all of it with traffic.
    let began = Instant::now();
    while began.elapsed() < half + Duration::from_secs(1) {
        answered(&traffic, 50).await;
    }
    let still = shared.migration().await;
    assert_eq!(
        (still["percent"].as_f64(), &still["stage"]),
        (Some(25.0), &json!(0))
    );
    assert_eq!(still["last_seq"], held["last_seq"], "{still:#}");
    assert!(healthy(&still) < hold, "{still:#}");
    // A program that is created now is one, or is refused: never neither.
    let mut claimed = Vec::new();
    for number in 0..5 {
        let id = format!("made-in-trouble-{number}");
        let body = json!({"id": id, "kind": "callable", "target": "fixture_programs:echo",
            "repeatable": true});
        let status = shared.post("/v1/programs", body).await.status;
        match status {
            201 => claimed.push(id),
            500..=599 => {}
            _ => panic!("{status}"),
        }
    }
    fail(&shared, false);
    until(&shared, "end of the trouble", |migration| !holds(migration)).await;
    until(&shared, "end", |migration| migration["phase"] == "complete").await;
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}\n{}", shared.log());
    let before = kinds(&shared).await;

    let mut house = Arc::into_inner(shared).unwrap();
    house.kill();
    house.open().await;
    assert!(kinds(&house).await.starts_with(&before), "nothing is lost");
    let gapless = before
        .iter()
        .zip(1..)
        .all(|((seq, _), place)| *seq == place);
    assert!(gapless, "{before:?}");
    let times = |wanted: &str| before.iter().filter(|(_, kind)| kind == wanted).count();
    assert_eq!(
        ["stage_entered", "stage_left", "traffic_set", "completed"].map(times),
        [2, 2, 2, 1],
        "each once: {before:?}"
    );
    let programs = house.get("/v1/programs").await.ok(200).to_string();
    for id in &claimed {
        assert!(programs.contains(&format!("\"{id}\"")), "{id}: {programs}");
    }
}

#[tokio::test]
async fn a_rollback_wins_although_nothing_can_be_written() {
    let house = Arc::new(in_a_stage("1h").await);
    let traffic = Traffic::start(&house, 4);
    house.start_migration().await;
    until(&house, "stage 1", |migration| {
        migration["percent"] == 25.0 && migration["acknowledged"] == true
    })
    .await;
    fail(&house, true);
    until(&house, "trouble", holds).await;
    let back = json!({"why": "enough", "who": "ada"});
    let path = "/admin/v1/migrations/current/rollback";
    house.post(path, back).await.ok(200);
    for number in 0..40 {
        let session = format!("after-{number}");
        let answer = house.execute("echo", &session, json!({"text": "x"})).await;
        assert_eq!(
            (answer.status, answer.lane.as_deref()),
            (200, Some("stable")),
            "{answer:?}"
        );
    }
    assert_ne!(house.migration().await["phase"], "rolled_back");
    fail(&house, false);
    let end = until(&house, "end", |migration| {
        migration["phase"] == "rolled_back"
    })
    .await;
    assert!(
        end["outcome"].to_string().contains("ada: enough"),
        "{end:#}"
    );
    let kinds = kinds(&house).await;
    let times = |wanted: &str| kinds.iter().filter(|(_, kind)| kind == wanted).count();
    assert_eq!(
        ["rollback_began", "traffic_zeroed", "withdrawn"].map(times),
        [1, 1, 1],
        "each once: {kinds:?}"
    );
    let failures = traffic.stop().await;
    assert!(failures.is_empty(), "{failures:#?}");
}
