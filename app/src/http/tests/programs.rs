//! Programs over HTTP: the way of a call, and each way it can fail.

use std::time::Duration;

use dspex_pool::PoolError;
use serde_json::json;

use super::bench::{Bench, request};

const EXECUTE: &str = "/v1/programs/echo/execute";

#[tokio::test]
async fn a_program_is_made_listed_called_and_deleted() {
    let bench = Bench::ready().await;
    let made = bench
        .post(
            "/v1/programs",
            json!({"id": "echo", "kind": "callable", "target": "m:echo", "repeatable": true}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("location"), Some("/v1/programs/echo"));
    assert_eq!(
        made.json()["definition"],
        json!({"kind": "callable", "target": "m:echo"})
    );
    assert_eq!(made.json()["repeatable"], true);

    // What is shown can be given back.
    let mut again = bench.get("/v1/programs/echo").await.json();
    again["id"] = "echo-2".into();
    again.as_object_mut().unwrap().remove("version");
    assert_eq!(bench.post("/v1/programs", again).await.status, 201);

    let page = bench.get("/v1/programs?limit=1").await.json();
    assert_eq!(page["programs"][0]["id"], "echo");
    assert_eq!(page["next"], "echo");
    let rest = bench.get("/v1/programs?after=echo").await.json();
    assert_eq!(rest["programs"][0]["id"], "echo-2");

    let called = bench.post(EXECUTE, json!({"inputs": {"text": "ä"}})).await;
    assert_eq!(called.status, 200, "{called:?}");
    assert_eq!(called.json()["outputs"], json!({"text": "ä"}));
    assert_eq!(called.header("x-dspex-lane"), Some("stable"));
    assert_eq!(called.json()["lane"], "stable");
    assert_eq!(
        called.json()["request_id"].as_str(),
        called.header("x-request-id")
    );

    let gone = bench
        .send(request("DELETE", "/v1/programs/echo", None))
        .await;
    assert_eq!(gone.status, 204);
    bench.get("/v1/programs/echo").await.problem(404);
    bench
        .post(EXECUTE, json!({"inputs": {}}))
        .await
        .problem(404);
    assert_eq!(bench.stable.forgotten().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_draft_is_said_and_nothing_is_kept() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let twice = json!({"id": "echo", "kind": "callable", "target": "m:other"});
    let problem = bench.post("/v1/programs", twice).await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("echo"));

    bench.stable.fail_checks(PoolError::Rejected {
        message: "module m has no attribute nope".to_owned(),
    });
    let refused = json!({"id": "bad", "kind": "callable", "target": "m:nope"});
    let problem = bench.post("/v1/programs", refused).await.problem(422);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("no attribute nope")
    );
    bench.get("/v1/programs/bad").await.problem(404);

    let problem = bench
        .post("/v1/programs", json!({"kind": "dspy", "signature": "a"}))
        .await
        .problem(422);
    assert_eq!(problem["field"], "signature");
}

#[tokio::test]
async fn an_unknown_program_names_the_nearest() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let problem = bench
        .post("/v1/programs/ecko/execute", json!({"inputs": {}}))
        .await
        .problem(404);
    assert_eq!(problem["nearest"], "echo");
    bench.get("/v1/programs/a%20b").await.problem(422);
}

#[tokio::test]
async fn each_fault_of_a_call_has_its_status() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    let worker = || "v1-0.0".to_owned();
    let reason = || "for a test".to_owned();
    let cases = [
        (PoolError::InvalidInput { message: reason() }, 422),
        (
            PoolError::Provider {
                message: reason(),
                status: Some(500),
            },
            502,
        ),
        (
            PoolError::Provider {
                message: reason(),
                status: Some(429),
            },
            429,
        ),
        (
            PoolError::ProgramTimeout {
                after: Duration::from_secs(1),
            },
            504,
        ),
        (
            PoolError::Crashed {
                worker: worker(),
                reason: reason(),
            },
            502,
        ),
        (
            PoolError::Hung {
                worker: worker(),
                reason: reason(),
            },
            504,
        ),
        (
            PoolError::Protocol {
                worker: worker(),
                reason: reason(),
            },
            502,
        ),
        (
            PoolError::Exhausted {
                reason: reason(),
                retry_after: Duration::from_millis(1500),
            },
            503,
        ),
        (
            PoolError::TooMany {
                reason: reason(),
                retry_after: Duration::from_millis(1500),
            },
            429,
        ),
        (PoolError::Unavailable { reason: reason() }, 503),
        (PoolError::Draining, 503),
    ];
    for (error, status) in cases {
        // Each on a circuit that has not seen the others.
        let bench = Bench::ready().await;
        bench.create_echo().await;
        bench.stable.fail_with(error.clone());
        let answer = bench.post(EXECUTE, json!({"inputs": {}})).await;
        let problem = answer.problem(status);
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with(error.kind()), "{kind} for {error:?}");
        assert_eq!(answer.header("x-dspex-lane"), Some("stable"), "{error:?}");
        if matches!(
            error,
            PoolError::Exhausted { .. } | PoolError::TooMany { .. }
        ) {
            assert_eq!(answer.header("retry-after"), Some("2"));
        }
    }
}

#[tokio::test]
async fn an_exception_is_told_by_type_and_message_and_the_traceback_is_not() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.fail_with(PoolError::Program {
        exception: "ValueError".to_owned(),
        message: "seven is odd".to_owned(),
        traceback: Some("File \"/srv/secret.py\", line 7".to_owned()),
    });
    let answer = bench.post(EXECUTE, json!({"inputs": {}})).await;
    let problem = answer.problem(500);
    assert_eq!(problem["exception"], "ValueError");
    assert_eq!(problem["message"], "seven is odd");
    assert!(!answer.text.contains("secret.py"), "{}", answer.text);
}

#[tokio::test]
async fn inputs_are_an_object_and_fields_are_known() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    for (body, field) in [
        (json!({"inputs": [1]}), "inputs"),
        (json!({"inputs": "x"}), "inputs"),
        (json!({"inputs": {}, "timeout_ms": -1}), "timeout_ms"),
        (json!({"inputs": {}, "sesion": "s"}), "sesion"),
    ] {
        let problem = bench.post(EXECUTE, body).await.problem(422);
        assert_eq!(problem["field"], field, "{problem}");
    }
    let problem = bench.post(EXECUTE, json!({})).await.problem(422);
    assert!(
        problem["detail"].as_str().unwrap().contains("inputs"),
        "{problem}"
    );
    assert_eq!(bench.stable.calls(), 0);
}

#[tokio::test]
async fn a_caller_that_leaves_is_not_worked_for() {
    let bench = Bench::ready().await;
    bench.create_echo().await;
    bench.stable.hold();
    {
        let mut call = Box::pin(bench.post(EXECUTE, json!({"inputs": {}})));
        tokio::select! {
            answer = &mut call => panic!("held calls are not answered: {answer:?}"),
            () = bench.stable.wait_for_calls(1) => {}
        }
    }
    assert_eq!(bench.stable.shared().status().in_flight, 0);
}

#[tokio::test]
async fn no_caller_gets_at_the_module_that_workers_are_probed_with() {
    let bench = Bench::ready().await;
    for (field, draft) in [
        (
            "target",
            json!({"id": "busy", "kind": "callable", "target": "dspex_worker.probe:burn"}),
        ),
        (
            "target",
            json!({"id": "busy", "kind": "callable", "target": "dspex_worker.probe.more:f"}),
        ),
        (
            "tools",
            json!({"id": "busy", "kind": "dspy", "signature": "a -> b", "module": "react",
                "tools": ["dspex_worker.probe:sleep"]}),
        ),
    ] {
        for answer in [
            bench.post("/v1/programs", draft.clone()).await,
            bench
                .send(request("PUT", "/v1/programs/busy", Some(draft.clone())))
                .await,
        ] {
            let problem = answer.problem(422);
            let told = problem.to_string();
            assert!(
                told.contains("dspex_worker.probe") && told.contains(field),
                "{told}"
            );
        }
    }
}
