//! Workers that can never come up: at the start, and in the middle of serving.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fleet::{pool, signal, until, whole, workers};
use crate::house::{House, v2_alone};

/// For how long the starts are counted.
const WATCHED: Duration = Duration::from_secs(10);

/// A pool whose workers import a module that is broken while its folder has a file `broken`.
fn with_module(settings: &str) -> House {
    let settings = format!("workers = 2\nconcurrency = 4\npreload = [\"loaded\"]\n{settings}");
    let house = House::with(&v2_alone(&settings));
    let path = house.path("modules").display().to_string();
    let file = house.path("dspex.toml");
    let configuration = std::fs::read_to_string(&file).unwrap();
    let configuration = configuration.replace("path = [", &format!("path = [{path:?}, "));
    std::fs::write(file, configuration).unwrap();
    std::fs::create_dir(house.path("modules")).unwrap();
    let source = "import os\n\
        if os.path.exists(os.path.join(os.path.dirname(__file__), 'broken')):\n\
        \x20   raise RuntimeError('this release is broken')\n";
    std::fs::write(house.path("modules/loaded.py"), source).unwrap();
    house
}

#[test]
fn a_module_that_cannot_be_imported_is_told_at_the_start() {
    let house = with_module("");
    std::fs::write(house.path("modules/broken"), "").unwrap();
    let output = house.run(&["serve"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let error = text.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("no clear line: {text}"));
    for word in ["loaded", "RuntimeError", "this release is broken"] {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

fn circuit(pool: &Value) -> &str {
    pool["details"]["start_circuit"]["state"].as_str().unwrap()
}

#[tokio::test]
async fn a_crash_loop_backs_off_callers_are_told_at_once_and_it_ends_by_itself() {
    // As by default, but for the time that the circuit stays open: 10 s.
    let mut house = with_module("recovery = { start = { open_for = \"3s\" } }");
    house.open().await;
    house.create("echo").await;
    house
        .execute("echo", "s", json!({"text": "x"}))
        .await
        .ok(200);
    let (before, _) = until(&house, "v2", "whole", whole).await;
    let started = before["starts"].as_u64().unwrap();

    // The next release is broken, and the machine kills what has the last one.
    std::fs::write(house.path("modules/broken"), "").unwrap();
    for worker in workers(&before) {
        signal(worker.pid.unwrap(), Signal::KILL);
    }
    if let Some(server) = before["details"]["fork_server"]["pid"].as_i64() {
        signal(i32::try_from(server).unwrap(), Signal::KILL);
    }
    let began = Instant::now();
    let (_, opened) = until(&house, "v2", "an open circuit", |pool| {
        circuit(pool) == "open"
    })
    .await;

    // Callers do not wait for what cannot come.
    let mut slowest = Duration::ZERO;
    let mut told = 0;
    while began.elapsed() < WATCHED {
        let asked = Instant::now();
        let answer = house.execute("echo", "s", json!({"text": "x"})).await;
        let waited = asked.elapsed();
        // While one is being tried, there is hope, and it is waited for.
        if circuit(&pool(&house, "v2").await) == "open" {
            slowest = slowest.max(waited);
        }
        let after = answer.retry_after;
        let problem = answer.problem(503, "");
        assert!(after >= Some(1), "{after:?}: {problem}");
        assert!(!problem.to_string().contains("traceback"), "{problem}");
        told += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let broken = pool(&house, "v2").await;
    let watched = began.elapsed();
    let starts = broken["starts"].as_u64().unwrap() - started;
    // Five until the circuit opens, with at most one more on its way in the other slot, then one
    // each 3 s: ten in 10 s.
    let most = 7 + watched.as_secs() / 3;
    assert!((5..=most).contains(&starts), "{starts} starts: {broken:#}");
    assert_eq!(broken["ready"], 0, "{broken:#}");
    house.get("/healthz").await.ok(200);
    house.get("/readyz").await.problem(503, "");

    std::fs::remove_file(house.path("modules/broken")).unwrap();
    let mended = Instant::now();
    let (_, back) = until(&house, "v2", "a worker", |pool| pool["ready"] != 0).await;
    // The first to come to something lets the others be tried.
    house
        .execute("echo", "s", json!({"text": "x"}))
        .await
        .ok(200);
    until(&house, "v2", "whole", whole).await;
    let made_whole = mended.elapsed();
    eprintln!(
        "{starts} starts in {watched:.1?} of a crash loop of two slots, the circuit opened after \
         {opened:.1?}; {told} callers were told, the slowest after {slowest:.1?}; a worker \
         {back:.1?} after the module was mended, all after {made_whole:.1?}"
    );
}

#[tokio::test]
async fn without_the_switch_circuit_breaker_no_number_of_failures_stops_the_starts() {
    // As many failures as would open the circuit twice over, in seconds.
    let start = "{ spacing = \"100ms\", open_for = \"1h\", \
        backoff = { kind = \"exponential\", base = \"100ms\", cap = \"200ms\", jitter = 0.0 } }";
    let mut house = with_module(&format!("recovery = {{ start = {start} }}"));
    house.open().await;
    let set = |on: bool| {
        let body = json!({"set": {"circuit_breaker": on}, "why": "a test"});
        house.send(house.request("PATCH", "/admin/v1/flags").json(&body))
    };
    let switched = |on: bool| {
        move |pool: &Value| {
            let details = &pool["details"];
            details["start_circuit"]["on"] == on && details["switches"]["circuit_breaker"] == on
        }
    };
    let metric = async |on: u8| {
        let metrics = house.get("/metrics").await.body;
        let line = format!("dspex_pool_switch{{pool=\"v2\",switch=\"circuit_breaker\"}} {on}");
        let text = metrics.as_str().unwrap();
        assert!(text.contains(&line), "{line} is missing: {text}");
    };
    until(&house, "v2", "switched on", switched(true)).await;
    metric(1).await;
    set(false).await.ok(200);
    let (before, _) = until(&house, "v2", "switched off", |pool| {
        switched(false)(pool) && whole(pool)
    })
    .await;
    metric(0).await;

    std::fs::write(house.path("modules/broken"), "").unwrap();
    for worker in workers(&before) {
        signal(worker.pid.unwrap(), Signal::KILL);
    }
    if let Some(server) = before["details"]["fork_server"]["pid"].as_i64() {
        signal(i32::try_from(server).unwrap(), Signal::KILL);
    }
    let started = before["starts"].as_u64().unwrap();
    until(&house, "v2", "ten more starts", |pool| {
        assert_ne!(circuit(pool), "open", "{pool:#}");
        pool["starts"].as_u64().unwrap() >= started + 10
    })
    .await;

    // On again, the failures that still come open it.
    set(true).await.ok(200);
    until(&house, "v2", "an open circuit", |pool| {
        circuit(pool) == "open"
    })
    .await;
    metric(1).await;
}
