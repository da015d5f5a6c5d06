//! New versions of programs: which one is served, and what becomes of the one before.

use std::sync::Arc;

use dspex_pool::{PoolError, Program};
use dspex_router::{Draft, MemoryCatalog, Put, RouterConfig, RouterError};
use serde_json::json;

use crate::support::{House, draft};

fn of_target(target: &str) -> Draft {
    Draft {
        id: None,
        definition: serde_json::from_value(json!({"kind": "callable", "target": target})).unwrap(),
        repeatable: Some(true),
        ..draft("unused")
    }
}

fn replaced(put: Put) -> Arc<Program> {
    match put {
        Put::Replaced(program) => program,
        other => panic!("{other:?}"),
    }
}

/// Stable and the candidate answer which definition they ran.
async fn house() -> House {
    let house = House::with(Arc::new(MemoryCatalog::new()), RouterConfig::default()).await;
    for pool in [&house.stable, &house.candidate] {
        pool.answer_with(|call| {
            let definition = serde_json::to_value(&call.program.definition).unwrap();
            Ok(dspex_pool::testing::FakePool::reply(
                &json!({"ran": definition["target"]}),
            ))
        });
    }
    house
}

#[tokio::test]
async fn a_new_definition_is_a_new_version_and_is_what_new_calls_get() {
    let house = house().await;
    let id = "p".parse().unwrap();
    let router = &house.router;
    let Put::Created(first) = router
        .put_program(&id, of_target("m:a"), None)
        .await
        .unwrap()
    else {
        panic!("it was not there");
    };
    let same = router
        .put_program(&id, of_target("m:a"), None)
        .await
        .unwrap();
    assert_eq!(
        same,
        Put::Unchanged(first.clone()),
        "what says the same is no version"
    );

    house.stable.hold();
    let (slow, router_of_slow, program) = (
        house.router.clone(),
        house.router.clone(),
        first.key.id.clone(),
    );
    let calling = async move {
        slow.execute(crate::support::request(&program, "s"))
            .await
            .unwrap()
    };
    let putting = async {
        house.stable.wait_for_calls(1).await;
        let second = replaced(
            router_of_slow
                .put_program(&id, of_target("m:b"), None)
                .await
                .unwrap(),
        );
        house.stable.release();
        second
    };
    let (old, second) = tokio::join!(calling, putting);
    assert!(second.key.version > first.key.version);
    assert_eq!(
        old.outputs["ran"], "m:a",
        "a call in flight ends on what it began with"
    );
    assert_eq!(house.call(&id, "s").await.unwrap().outputs["ran"], "m:b");
    house.percent("100%").await;
    assert_eq!(
        house.call(&id, "s").await.unwrap().outputs["ran"],
        "m:b",
        "on either lane"
    );
    assert!(
        house.stable.checked().contains(&second.key),
        "built before it is served"
    );
    assert_eq!(house.stable.forgotten(), std::slice::from_ref(&first.key));

    let versions = router.versions(&id, None, 10).await.unwrap().versions;
    let numbers: Vec<_> = versions.iter().map(|one| one.program.key.version).collect();
    assert_eq!(numbers, [second.key.version, first.key.version]);
    let nobody = router.versions(&"nobody".parse().unwrap(), None, 10).await;
    assert!(
        matches!(nobody, Err(RouterError::UnknownProgram { .. })),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_built_or_was_not_expected_replaces_nothing() {
    let house = house().await;
    let id = "p".parse().unwrap();
    let router = &house.router;
    let missing = router.put_program(&id, of_target("m:a"), Some(1)).await;
    assert!(
        matches!(missing, Err(RouterError::UnknownProgram { .. })),
        "{missing:?}"
    );
    let Put::Created(first) = router
        .put_program(&id, of_target("m:a"), None)
        .await
        .unwrap()
    else {
        panic!("it was not there");
    };
    let old = router
        .put_program(&id, of_target("m:b"), Some(first.key.version + 7))
        .await;
    match old {
        Err(error @ RouterError::VersionConflict { .. }) => {
            assert_eq!(error.kind(), "version-conflict");
            assert!(error.to_string().contains("read it again"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    house.stable.fail_checks(PoolError::Rejected {
        message: "no module m".to_owned(),
    });
    let refused = router.put_program(&id, of_target("m:c"), None).await;
    assert!(
        matches!(refused, Err(RouterError::Pool(PoolError::Rejected { .. }))),
        "{refused:?}"
    );
    assert_eq!(house.call(&id, "s").await.unwrap().outputs["ran"], "m:a");
    house.stable.check_with(|_| Ok(()));

    // Two at once: whoever comes second is told, and one new version is served.
    let (one, other) = tokio::join!(
        router.put_program(&id, of_target("m:x"), Some(first.key.version)),
        router.put_program(&id, of_target("m:y"), Some(first.key.version)),
    );
    assert_eq!(
        [&one, &other].iter().filter(|put| put.is_ok()).count(),
        1,
        "{one:?} {other:?}"
    );
    assert_eq!(
        router.versions(&id, None, 10).await.unwrap().versions.len(),
        2
    );
}

#[tokio::test]
async fn a_new_version_begins_its_sessions_anew() {
    let house = House::new().await;
    let id = "p".parse().unwrap();
    let stateful = |target| Draft {
        stateful: true,
        ..of_target(target)
    };
    let states = |pool: &dspex_pool::testing::FakePool| {
        pool.answer_with(|call| {
            let seen = call
                .state
                .as_ref()
                .map_or("none".to_owned(), |state| state.as_json().to_string());
            let mut reply = dspex_pool::testing::FakePool::reply(&json!({"seen": seen}));
            let next = serde_json::value::to_raw_value(&json!({"kept": true})).unwrap();
            reply.state = Some(next.into());
            Ok(reply)
        });
    };
    states(&house.stable);
    house
        .router
        .put_program(&id, stateful("m:a"), None)
        .await
        .unwrap();
    assert_eq!(house.call(&id, "s").await.unwrap().outputs["seen"], "none");
    assert_eq!(
        house.call(&id, "s").await.unwrap().outputs["seen"],
        r#"{"kept":true}"#
    );
    house
        .router
        .put_program(&id, stateful("m:b"), None)
        .await
        .unwrap();
    assert_eq!(house.call(&id, "s").await.unwrap().outputs["seen"], "none");
    assert_eq!(
        house.router.sessions().await.unwrap().sessions,
        1,
        "those before are dropped"
    );
}
