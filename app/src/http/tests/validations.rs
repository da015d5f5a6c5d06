//! Validations over HTTP: begun, looked at, refused, cut off; and asked for by a migration.

use std::sync::Arc;
use std::time::Duration;

use dspex_migration::Validator as _;
use serde_json::{Value, json};

use super::bench::{Bench, config};

const PATH: &str = "/admin/v1/validations";

async fn begin(bench: &Bench, body: Value) -> Value {
    let begun = bench.admin("POST", PATH, Some(body)).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    begun.json()
}

/// Waits until the validation has ended.
async fn ended(bench: &Bench, id: &str) -> Value {
    let path = format!("{PATH}/{id}");
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let now = bench.admin("GET", &path, None).await.json();
            if now["state"] != "running" {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    ended.await.expect("it ends")
}

#[tokio::test]
async fn what_is_found_is_told() {
    let bench = Bench::ready().await;
    let begun = begin(&bench, json!({"run": "quick", "who": "ada"})).await;
    assert_eq!(
        (&begun["stable"], &begun["candidate"]),
        (&json!("v1@1"), &json!("v2@1"))
    );
    assert_eq!(
        (&begun["state"], &begun["who"]),
        (&json!("running"), &json!("ada"))
    );
    // The rehearsal pools of a bench run whatever they are asked to, which is what they must not.
    let ended = ended(&bench, begun["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "failed", "{ended:#}");
    let findings = ended["findings"].as_array().unwrap();
    let last = findings.last().unwrap();
    assert_eq!(last["area"], "functional");
    assert!(
        last["value"].as_str().unwrap().contains("not allowed"),
        "{last:#}"
    );
    assert!(last["hint"].is_string());
    let listed = bench.admin("GET", PATH, None).await.json();
    assert_eq!(listed["validations"][0], ended);
    assert_eq!(
        bench.stable.calls() + bench.candidate.calls(),
        0,
        "pools that serve"
    );
}

#[tokio::test]
async fn one_runs_at_a_time_and_can_be_cut_off() {
    let bench = Bench::ready().await;
    let held = Arc::clone(&bench.rehearsals).acquire_owned().await.unwrap();
    let begun = begin(&bench, json!({})).await;
    let id = begun["id"].as_str().unwrap();
    assert_eq!(begun["extent"], "full");
    let refused = bench
        .admin("POST", PATH, Some(json!({})))
        .await
        .problem(409);
    assert_eq!(refused["validation"], *id, "{refused}");
    let cut = bench.admin("DELETE", &format!("{PATH}/{id}"), None).await;
    assert_eq!(cut.status, 202);
    let cancelled = ended(&bench, id).await;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled:#}");
    assert!(cancelled["ended_at"].is_string() && cancelled["findings"] == json!([]));
    drop(held);
    let next = begin(&bench, json!({"run": "quick"})).await;
    ended(&bench, next["id"].as_str().unwrap()).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let bench = Bench::ready().await;
    for (body, words) in [
        (json!({"candidate": "v22"}), "v22"),
        (json!({"stable": "v1@9"}), "v1"),
        (json!({"candidate": "v2@x"}), "names no version"),
        (json!({"run": "slow"}), "slow"),
        (json!({"runn": "quick"}), "runn"),
    ] {
        let refused = bench.admin("POST", PATH, Some(body.clone())).await;
        assert!(
            matches!(refused.status.as_u16(), 400 | 422),
            "{body}: {refused:?}"
        );
        assert!(refused.text.contains(words), "{body}: {}", refused.text);
    }
    bench
        .admin("GET", "/admin/v1/validations/v-0", None)
        .await
        .problem(404);
    bench
        .admin("DELETE", "/admin/v1/validations/v-0", None)
        .await
        .problem(404);
    bench.post(PATH, json!({})).await.problem(401);
    let listed = bench.admin("GET", PATH, None).await.json();
    assert_eq!(listed, json!({"validations": []}), "nothing was begun");
}

#[tokio::test]
async fn a_migration_waits_for_its_turn_and_gets_every_finding() {
    let bench = Bench::ready().await;
    let house = Arc::clone(bench.state.house().unwrap());
    let plan = config().migration.plan("v1", "v2", None).unwrap();
    let held = Arc::clone(&bench.rehearsals).acquire_owned().await.unwrap();
    let begun = begin(&bench, json!({})).await;
    let mut checks = house.validations.validate(&plan);
    let listed = tokio::select! {
        biased;
        checks = &mut checks => panic!("it did not wait: {checks:?}"),
        listed = bench.admin("GET", PATH, None) => listed.json(),
    };
    assert_eq!(listed["validations"].as_array().unwrap().len(), 1);
    drop(held);
    let (checks, first) = tokio::join!(checks, ended(&bench, begun["id"].as_str().unwrap()));
    assert_eq!(checks.len(), first["findings"].as_array().unwrap().len());
    assert!(checks.iter().any(|check| !check.ok));
    let listed = bench.admin("GET", PATH, None).await.json();
    let second = &listed["validations"][0];
    assert_eq!(
        (&second["who"], &second["extent"]),
        (&json!("migration"), &json!("quick"))
    );

    let mut unknown = plan.clone();
    unknown.candidate = "v9".to_owned();
    let checks = house.validations.validate(&unknown).await;
    assert!(
        !checks[0].ok && checks[0].value.contains("v9"),
        "{checks:?}"
    );

    // A rollback drops it.
    let held = Arc::clone(&bench.rehearsals).acquire_owned().await.unwrap();
    let begun = async {
        loop {
            let listed = bench.admin("GET", PATH, None).await.json();
            if listed["validations"][0]["state"] == "running" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        checks = house.validations.validate(&plan) => panic!("it did not wait: {checks:?}"),
        () = begun => {}
    }
    let listed = bench.admin("GET", PATH, None).await.json();
    assert_eq!(listed["validations"][0]["state"], "cancelled");
    drop(held);
}
