//! Copied calls over HTTP: what is told of them, and running a difference again.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, request};

/// Waits until the shadow's view satisfies this.
async fn until(bench: &Bench, what: impl Fn(&Value) -> bool) -> Value {
    let seen = async {
        loop {
            let view = bench.admin("GET", "/admin/v1/shadow", None).await.json();
            if what(&view) {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen)
        .await
        .expect("it comes to pass")
}

#[tokio::test]
async fn a_difference_is_listed_shown_and_run_again() {
    let bench = Bench::ready().await;
    let echo = json!({"id": "echo", "kind": "callable", "target": "m:echo", "repeatable": true});
    assert_eq!(bench.post("/v1/programs", echo).await.status, 201);
    let house = bench.state.house().unwrap().clone();
    house.router.set_candidate(Some(bench.candidate.shared()));
    let none = bench.admin("GET", "/admin/v1/shadow", None).await.json();
    assert_eq!(
        (&none["share_percent"], &none["candidate"]),
        (&json!(0.0), &json!(true))
    );
    let share = json!({"set": {"shadow_percentage": 100}, "why": "compare"});
    let written = bench.admin("PATCH", "/admin/v1/flags", Some(share)).await;
    assert_eq!(written.status, 200, "{written:?}");
    bench.candidate.answer(&json!({"text": "other"}));
    // The first ten teach what stable does not answer twice alike.
    let call = || {
        bench.post(
            "/v1/programs/echo/execute",
            json!({"inputs": {"text": "hello"}}),
        )
    };
    for _ in 0..11 {
        assert_eq!(call().await.status, 200);
        until(&bench, |view| {
            view["counts"]["copied"].as_u64() == view["counts"]["drawn"].as_u64()
                && view["queued"] == 0
        })
        .await;
    }
    let view = until(&bench, |view| {
        view["programs"][0]["different"].as_u64() > Some(0)
    })
    .await;
    assert_eq!(view["programs"][0]["program"], "echo", "{view}");
    let cases = bench
        .admin("GET", "/admin/v1/shadow/cases?program=echo", None)
        .await
        .json();
    let id = cases["cases"][0]["id"].as_u64().unwrap();
    assert_eq!(cases["cases"][0]["first"]["path"], "/text");
    let case = bench
        .admin("GET", &format!("/admin/v1/shadow/cases/{id}"), None)
        .await
        .json();
    assert_eq!(case["inputs"], json!({"text": "hello"}));
    assert_eq!(case["stable"], json!({"text": "hello"}));
    assert_eq!(case["candidate"], json!({"text": "other"}));

    bench.candidate.answer(&json!({"text": "hello"}));
    let replay = format!("/admin/v1/shadow/cases/{id}/replay");
    let again = bench.admin("POST", &replay, None).await.json();
    assert_eq!(again["differences"], json!([]), "{again}");
    house.router.set_candidate(None);
    let problem = bench.admin("POST", &replay, None).await.problem(409);
    assert!(problem["type"].as_str().unwrap().ends_with("no-candidate"));
    bench
        .admin("GET", "/admin/v1/shadow/cases/99", None)
        .await
        .problem(404);
    bench
        .admin("GET", "/admin/v1/shadow/cases/x", None)
        .await
        .problem(404);
    bench
        .admin("GET", "/admin/v1/shadow/cases?limit=0", None)
        .await
        .problem(422);
    bench.get("/admin/v1/shadow/cases").await.problem(401);
}

#[tokio::test]
async fn a_program_that_is_put_is_a_new_version_of_itself() {
    let bench = Bench::ready().await;
    let put = |path: &'static str, target: &str| {
        let body = json!({"kind": "callable", "target": target, "repeatable": true});
        bench.send(request("PUT", path, Some(body)))
    };
    let made = put("/v1/programs/p", "m:a").await;
    assert_eq!(made.status, 201, "{made:?}");
    let first = made.json()["version"].as_u64().unwrap();
    assert_eq!(made.json()["side_effects"], false, "it may be repeated");
    assert_eq!(put("/v1/programs/p", "m:a").await.json()["version"], first);
    let second = put("/v1/programs/p", "m:b").await;
    assert_eq!(second.status, 200);
    let second = second.json()["version"].as_u64().unwrap();
    assert!(second > first);
    let problem = put("/v1/programs/p?expect=1000000", "m:c")
        .await
        .problem(409);
    assert_eq!(
        (&problem["expected"], &problem["actual"]),
        (&json!(1_000_000), &json!(second))
    );
    put("/v1/programs/nobody?expect=1", "m:c")
        .await
        .problem(404);
    let other = json!({"id": "q", "kind": "callable", "target": "m:a"});
    let problem = bench
        .send(request("PUT", "/v1/programs/p", Some(other)))
        .await
        .problem(422);
    assert_eq!(problem["field"], "id");

    let all = bench.get("/v1/programs/p/versions").await.json();
    let targets: Vec<_> = all["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["definition"]["target"])
        .collect();
    assert_eq!(targets, ["m:b", "m:a"]);
    let page = bench.get("/v1/programs/p/versions?limit=1").await.json();
    assert_eq!(page["next"], second);
    let rest = bench
        .get(&format!("/v1/programs/p/versions?before={second}"))
        .await
        .json();
    assert_eq!(rest["versions"][0]["version"], first);
    bench.get("/v1/programs/nobody/versions").await.problem(404);
    bench
        .get("/v1/programs/p/versions?limit=101")
        .await
        .problem(422);
}
