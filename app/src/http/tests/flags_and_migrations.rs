//! The admin API: the lever, and migrations from start to end and back.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{Kind, MemoryStore, Write};
use serde_json::{Value, json};

use super::bench::Bench;

const FLAGS: &str = "/admin/v1/flags";
const MIGRATIONS: &str = "/admin/v1/migrations";

async fn patch(bench: &Bench, body: Value) -> super::bench::Answer {
    bench.admin("PATCH", FLAGS, Some(body)).await
}

#[tokio::test]
async fn a_flag_is_written_with_a_why_acknowledged_and_kept() {
    let bench = Bench::ready().await;
    let written = patch(
        &bench,
        json!({"set": {"pool_v2_enabled": true, "gradual_rollout_percentage": "12.5%"},
               "who": "ada", "why": "a test"}),
    )
    .await;
    assert_eq!(written.status, 200, "{written:?}");
    assert_eq!(written.json(), json!({"revision": 1, "acknowledged": true}));
    let flags = bench.admin("GET", FLAGS, None).await.json();
    assert_eq!(flags["revision"], 1);
    assert_eq!(flags["acknowledgements"]["router"], 1);
    let history = bench
        .admin("GET", "/admin/v1/flags/history?limit=10", None)
        .await
        .json();
    assert_eq!(history["changes"].as_array().unwrap().len(), 2);
    assert_eq!(history["changes"][0]["who"], "ada");
    assert_eq!(history["changes"][0]["why"], "a test");
}

#[tokio::test]
async fn a_bad_write_is_refused_and_changes_nothing() {
    let bench = Bench::ready().await;
    let of = |key: &str, value: Value| json!({"set": {"telemetry_v2": false, key: value}, "why": "a test"});
    for value in [
        json!(101),
        json!(-1),
        json!("NaN"),
        json!(null),
        json!(true),
        json!(0.001),
    ] {
        let problem = patch(&bench, of("gradual_rollout_percentage", value.clone()))
            .await
            .problem(422);
        assert_eq!(problem["field"], "gradual_rollout_percentage", "{value}");
    }
    let problem = patch(&bench, of("pool_v2_enable", json!(true)))
        .await
        .problem(404);
    assert_eq!(problem["nearest"], "pool_v2_enabled");
    let without = json!({"set": {"telemetry_v2": false}});
    assert_eq!(patch(&bench, without).await.problem(422)["field"], "why");
    patch(&bench, json!({"set": {}, "why": "x"}))
        .await
        .problem(422);
    assert_eq!(bench.admin("GET", FLAGS, None).await.json()["revision"], 0);
}

#[tokio::test]
async fn a_write_over_another_names_both_revisions() {
    let bench = Bench::ready().await;
    let body = json!({"set": {"telemetry_v2": false}, "why": "x", "expected_revision": 0});
    assert_eq!(patch(&bench, body.clone()).await.status, 200);
    let problem = patch(&bench, body).await.problem(409);
    assert_eq!(
        (&problem["expected"], &problem["actual"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn an_unset_flag_is_what_the_configuration_says_and_the_history_tells_it() {
    let bench = Bench::with_flags(
        Arc::new(MemoryStore::new()),
        &["flags.values.pool_optimizer=true"],
    )
    .await;
    let path = format!("{FLAGS}/explain/pool_optimizer");
    let explained = async || {
        let why = bench.admin("GET", &path, None).await.json();
        (why["value"].clone(), why["layer"].clone())
    };
    assert_eq!(explained().await, (json!(true), json!("configuration")));
    let set = json!({"set": {"pool_optimizer": false}, "why": "a test"});
    assert_eq!(patch(&bench, set).await.status, 200);
    assert_eq!(explained().await, (json!(false), json!("store")));

    let unset = json!({"unset": ["pool_optimizer"], "why": "done with it"});
    let written = patch(&bench, unset).await;
    assert_eq!(written.json(), json!({"revision": 2, "acknowledged": true}));
    assert_eq!(explained().await, (json!(true), json!("configuration")));
    let history = bench
        .admin("GET", &format!("{FLAGS}/history?limit=1"), None)
        .await
        .json();
    let change = &history["changes"][0];
    assert_eq!(
        (&change["before"], &change["after"], &change["why"]),
        (&json!(false), &json!(null), &json!("done with it"))
    );

    let unknown = json!({"unset": ["pool_optimiser"], "why": "x"});
    let problem = patch(&bench, unknown).await.problem(404);
    assert_eq!(problem["nearest"], "pool_optimizer");
    let both = json!({"set": {"pool_optimizer": true}, "unset": ["pool_optimizer"], "why": "x"});
    patch(&bench, both).await.problem(422);
}

#[tokio::test]
async fn rules_are_written_explained_exported_and_reverted() {
    let bench = Bench::ready().await;
    let share = json!({"pool_v2_enabled": true, "gradual_rollout_percentage": 50});
    patch(&bench, json!({"set": share, "why": "a test"})).await;
    let rules = json!({"gradual_rollout_percentage.rules": {"allow": ["ada"]}});
    let written = patch(&bench, json!({"set": rules, "why": "a test"})).await;
    assert_eq!(written.status, 200, "{written:?}");
    let path = format!("{FLAGS}/explain/gradual_rollout_percentage");
    let why = bench
        .admin("GET", &format!("{path}?key=ada"), None)
        .await
        .json();
    assert_eq!(
        (&why["on"], &why["reason"]["rule"]),
        (&json!(true), &json!("allowed"))
    );
    assert_eq!(
        (&why["layer"], &why["revision"]),
        (&json!("store"), &json!(2))
    );
    bench
        .admin("GET", &format!("{FLAGS}/explain/nope"), None)
        .await
        .problem(404);

    let flagd = format!("{FLAGS}/flagd");
    let definitions = bench.admin("GET", &flagd, None).await.json();
    let reverted = bench
        .admin(
            "POST",
            &format!("{FLAGS}/revert"),
            Some(json!({"revision": 0, "why": "back"})),
        )
        .await;
    assert_eq!(
        reverted.json(),
        json!({"revision": 3, "acknowledged": true})
    );
    let flags = bench.admin("GET", FLAGS, None).await.json();
    let flag = &flags["flags"][2];
    assert_eq!(flag["key"], "gradual_rollout_percentage");
    assert_eq!(
        (&flag["value"], &flag["layer"], &flag["rules"]),
        (&json!(0), &json!("compiled"), &json!(null))
    );

    let import = json!({"definitions": definitions, "why": "as it was"});
    let imported = bench.admin("POST", &flagd, Some(import)).await;
    assert_eq!(
        imported.json(),
        json!({"revision": 4, "acknowledged": true})
    );
    let why = bench
        .admin("GET", &format!("{path}?key=ada"), None)
        .await
        .json();
    assert_eq!(why["reason"]["rule"], "allowed");
    let wrong = json!({"definitions": {"flags": {"nope": {}}}, "why": "x"});
    let refused = bench.admin("POST", &flagd, Some(wrong)).await.problem(422);
    assert_eq!(refused["field"], "nope");
    let cycle = json!({"set": {"telemetry_v2.rules": {"requires": ["telemetry_v2"]}}, "why": "x"});
    patch(&bench, cycle).await.problem(422);
    // What is killed is off wherever somebody looks.
    let kill = json!({"set": {"telemetry_v2.rules": {"killed": true}}, "why": "x"});
    assert_eq!(patch(&bench, kill).await.status, 200);
    let flags = bench.get("/v1/status").await.json()["flags"].clone();
    assert_eq!(flags["values"]["telemetry_v2"], false);
    assert_eq!(
        flags["ruled"],
        json!(["gradual_rollout_percentage", "telemetry_v2"])
    );
    // Nobody asks this one for a key.
    let list = json!({"set": {"telemetry_v2.rules": {"deny": ["ada"]}}, "why": "x"});
    let refused = patch(&bench, list).await.problem(422);
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("`deny` would never be looked at"),
        "{refused}"
    );
    // Nor is it brought back from a history that has it.
    let rules = Kind::Rules.read(&json!({"deny": ["ada"]})).unwrap();
    let write = Write {
        expected: None,
        set: vec![("telemetry_v2.rules".to_owned(), rules)],
        who: "an older version".to_owned(),
        why: "a test".to_owned(),
    };
    let flags = bench.state.house().unwrap().flags.clone();
    let listed = flags.write(write).await.unwrap();
    let lift = json!({"unset": ["telemetry_v2.rules"], "why": "x"});
    assert_eq!(patch(&bench, lift).await.status, 200);
    let back = json!({"revision": listed.get(), "why": "back"});
    let path = format!("{FLAGS}/revert");
    let reverted = bench.admin("POST", &path, Some(back)).await.problem(422);
    assert_eq!(reverted["detail"], detail);
    assert!(flags.snapshot().revision() > listed, "as it was");
}

#[tokio::test]
async fn traffic_moves_by_the_flag_and_the_answer_tells_the_lane() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let started = bench
        .admin(
            "POST",
            MIGRATIONS,
            Some(json!({"why": "a test", "time_scale": 1e6})),
        )
        .await;
    assert_eq!(started.status, 201, "{started:?}");
    let id = started.json()["id"].as_str().unwrap().to_owned();

    let twice = bench
        .admin("POST", MIGRATIONS, Some(json!({"why": "again"})))
        .await;
    assert_eq!(twice.problem(409)["migration"], id.as_str());

    // Without samples nothing is healthy, so only a person's word moves it on.
    let promote = format!("{MIGRATIONS}/current/promote");
    wait_for(&bench, |status| {
        status["stage"] == 0 && status["acknowledged"] == true
    })
    .await;
    let promoted = bench
        .admin(
            "POST",
            &promote,
            Some(json!({"why": "trust me", "to_end": true})),
        )
        .await;
    assert_eq!(promoted.status, 200, "{promoted:?}");
    wait_for(&bench, |status| {
        status["percent"].as_f64() == Some(100.0) && status["acknowledged"] == true
    })
    .await;
    // The candidate was verified by calls of its own.
    let before = bench.candidate.calls();
    let called = bench
        .post("/v1/programs/echo/execute", json!({"inputs": {}}))
        .await;
    assert_eq!(
        called.header("x-dspex-lane"),
        Some("candidate"),
        "{called:?}"
    );
    assert_eq!(bench.candidate.calls(), before + 1);

    let rollback = format!("{MIGRATIONS}/current/rollback");
    let asked = bench
        .admin(
            "POST",
            &rollback,
            Some(json!({"why": "back again", "who": "ada"})),
        )
        .await;
    assert_eq!(asked.status, 200, "{asked:?}");
    wait_for(&bench, |status| status["phase"] == "rolled_back").await;
    let called = bench
        .post("/v1/programs/echo/execute", json!({"inputs": {}}))
        .await;
    assert_eq!(called.header("x-dspex-lane"), Some("stable"), "{called:?}");
    let pools = bench.admin("GET", "/admin/v1/pools", None).await.json();
    assert_eq!(pools["candidate"], json!(null));

    let events = bench
        .admin("GET", &format!("{MIGRATIONS}/{id}/events"), None)
        .await
        .json();
    assert_eq!(events["events"][0]["event"]["type"], "started");
    let history = bench.admin("GET", MIGRATIONS, None).await.json();
    assert_eq!(history["migrations"][0]["phase"], "rolled_back");
}

/// Waits until the current migration is so.
async fn wait_for(bench: &Bench, wanted: impl Fn(&Value) -> bool) {
    let current = format!("{MIGRATIONS}/current");
    let mut last = Value::Null;
    let looked = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            last = bench.admin("GET", &current, None).await.json();
            if wanted(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(looked.await.is_ok(), "never came to pass: {last:#}");
}

#[tokio::test]
async fn what_cannot_be_begun_or_steered_is_refused() {
    let bench = Bench::ready().await;
    bench
        .admin("GET", &format!("{MIGRATIONS}/current"), None)
        .await
        .problem(404);
    let pause = format!("{MIGRATIONS}/current/pause");
    bench
        .admin("POST", &pause, Some(json!({"why": "x"})))
        .await
        .problem(404);
    for (body, field) in [
        (json!({}), "why"),
        (json!({"why": " "}), "why"),
        (json!({"why": "x", "candidate": "v3"}), "candidate"),
        (json!({"why": "x", "candidate": "v1"}), "candidate"),
        (json!({"why": "x", "time_scale": 0}), "plan"),
        (json!({"why": "x", "time_scale": "fast"}), "time_scale"),
    ] {
        let problem = bench
            .admin("POST", MIGRATIONS, Some(body))
            .await
            .problem(422);
        assert_eq!(problem["field"], field, "{problem}");
    }
    bench
        .admin("GET", &format!("{MIGRATIONS}/m-nope/events"), None)
        .await
        .problem(404);
}

#[tokio::test]
async fn a_line_of_the_checklist_is_signed_in_the_newest_journal() {
    let bench = Bench::ready().await;
    let path = format!("{MIGRATIONS}/current/sign");
    let sign = async |body: Value| bench.admin("POST", &path, Some(body)).await;
    let body = json!({"line": "cost", "who": "ada", "why": "half the memory"});
    sign(body.clone()).await.problem(404);
    let start = json!({"why": "a test"});
    assert_eq!(
        bench.admin("POST", MIGRATIONS, Some(start)).await.status,
        201
    );
    let wrong = json!({"line": "Cost!", "why": "half the memory"});
    assert_eq!(sign(wrong).await.problem(422)["field"], "line");
    let silent = json!({"line": "cost"});
    assert_eq!(sign(silent).await.problem(422)["field"], "why");
    let signed = sign(body).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let journal = format!("{MIGRATIONS}/current/events");
    let events = bench.admin("GET", &journal, None).await.json();
    let events = events["events"].as_array().unwrap();
    let signed: Vec<_> = events
        .iter()
        .map(|entry| &entry["event"])
        .filter(|event| event["type"] == "signed")
        .collect();
    let event = json!({"type": "signed", "line": "cost", "who": "ada", "why": "half the memory"});
    assert_eq!(signed, [&event]);
    let audit = bench.admin("GET", "/admin/v1/audit", None).await.json();
    let audit = audit["audit"].as_array().unwrap();
    let kept = |deed: &Value| deed["what"]["command"] == json!({"sign": {"line": "cost"}});
    assert!(audit.iter().any(kept), "{audit:?}");
}
