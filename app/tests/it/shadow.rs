//! Copied calls on the shipped binary, with real workers in both lanes and a comparer in Python.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::house::{House, LONG, rehearsal};

/// Everything is copied; stable has one worker, so that its answers are always those of one process.
fn configuration() -> String {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let whole = rehearsal()
        .replace("workers = 2", "workers = 1")
        .replace(
            "path = [",
            &format!("path = [{:?}, ", own.display().to_string()),
        )
        .replace(
            "allow_modules = [\"fixture_programs\"]",
            "allow_modules = [\"fixture_programs\", \"shadow_programs\"]",
        )
        .replace("[migration]", "[migration]\nshadow = \"100%\"");
    format!(
        "{whole}\n[router.shadow]\ncomparer_timeout = \"5s\"\n\
         [router.shadow.noise]\nlearn_first = 2\nshare = 0.0\n\
         [router.shadow.programs.judged]\ncomparer = \"judge\"\n"
    )
}

async fn create(house: &House, id: &str, target: &str) {
    let body = json!({"kind": "callable", "target": target, "repeatable": true});
    let put = house
        .request("PUT", &format!("/v1/programs/{id}"))
        .json(&body);
    let answer = house.send(put).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// Calls the program until what is told of its comparison satisfies this.
async fn until(house: &House, program: &str, what: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    for call in 0_u64.. {
        // Some of these sessions are the candidate's, and are not copied while stable leads.
        let session = format!("session-{call}");
        house.execute(program, &session, json!({})).await.ok(200);
        let view = house.get("/admin/v1/shadow").await.ok(200);
        let programs = view["programs"].as_array().unwrap();
        if let Some(told) = programs
            .iter()
            .find(|told| told["program"] == program && what(told))
        {
            return told.clone();
        }
        assert!(begun.elapsed() < LONG, "{program}: {view:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("the time is up before the numbers are")
}

// Stable is pool V1, which ends a worker that does not answer. One of pool V2 that keeps a call which was
// given up serves nobody for ten seconds, and here it is the only one: a comparer that hangs would be felt.
#[tokio::test]
async fn answers_that_differ_over_pool_v1_pause_a_migration_and_a_comparer_may_excuse_them() {
    let mut house = House::with(&configuration());
    house.open().await;
    // Each lane's worker is a process of its own, so every answer differs.
    create(&house, "pid", "fixture_programs:pid").await;
    create(&house, "judged", "fixture_programs:pid").await;
    create(&house, "judge", "shadow_programs:judges").await;
    house.start_migration().await;

    let judged = until(&house, "judged", |told| {
        told["compared"].as_u64() >= Some(3)
    })
    .await;
    assert_eq!(
        judged["different"], 0,
        "the comparer looks at fields alone: {judged}"
    );
    let told = until(&house, "pid", |told| told["different"].as_u64() >= Some(12)).await;
    assert_eq!(told["compared"], told["different"], "{told}");

    let begun = Instant::now();
    while house.migration().await["paused"].is_null() {
        assert!(begun.elapsed() < LONG, "{:#}", house.migration().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let migration = house.migration().await.to_string();
    assert!(
        migration.contains("copied calls differently for pid"),
        "{migration}"
    );

    let cases = house
        .get("/admin/v1/shadow/cases?program=pid&limit=1")
        .await
        .ok(200);
    let id = cases["cases"][0]["id"].as_u64().unwrap();
    let shown = house.run(&["shadow", "case", &id.to_string()]);
    assert!(shown.status.success(), "{shown:?}");
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("/pid"),
        "{shown:?}"
    );
    let again = format!("/admin/v1/shadow/cases/{id}/replay");
    let again = house.post(&again, json!({})).await.ok(200);
    assert_eq!(again["differences"][0]["path"], "/pid", "{again}");

    a_case_is_run_again_with_its_comparer(&house).await;
    create(&house, "judge", "shadow_programs:raises").await;
    let troubled = |words: &'static str| {
        move |told: &Value| {
            told["trouble"]
                .as_str()
                .is_some_and(|said| said.contains(words))
        }
    };
    until(&house, "judged", troubled("ValueError: no opinion")).await;
    create(&house, "judge", "shadow_programs:hangs").await;
    until(&house, "judged", troubled("did not answer within 5s")).await;
    until(&house, "judged", troubled("failed 3 times in a row")).await;
    house.execute("pid", "ada", json!({})).await.ok(200);
}

/// By `dspex shadow replay`, whatever the comparer says meanwhile.
async fn a_case_is_run_again_with_its_comparer(house: &House) {
    create(house, "judge", "shadow_programs:differs").await;
    until(house, "judged", |told| {
        told["different"].as_u64() >= Some(1)
    })
    .await;
    let cases = house
        .get("/admin/v1/shadow/cases?program=judged&limit=1")
        .await
        .ok(200);
    let id = cases["cases"][0]["id"].as_u64().unwrap().to_string();
    let replayed = || {
        let ran = house.run(&["shadow", "replay", &id]);
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let told = replayed();
    assert!(
        told.contains("comparer") && told.contains("never content"),
        "{told}"
    );
    create(house, "judge", "shadow_programs:judges").await;
    let told = replayed();
    assert!(told.contains("the two answers say the same now"), "{told}");
    create(house, "judge", "shadow_programs:raises").await;
    let told = replayed();
    assert!(
        told.contains("not judged: the comparer judge failed") && !told.contains("the same now"),
        "{told}"
    );
    let answer = house.run(&["shadow", "replay", &id, "--json"]);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer["differences"].is_null(), "{answer}");
    assert!(answer["stable"]["outputs"].is_object(), "{answer}");
}
