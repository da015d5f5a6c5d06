//! The user's own comparer: what it judges, what it costs, and what is said where it does not judge.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{PoolError, Reply, Usage};
use dspex_router::ShadowConfig;
use dspex_router::compare::{RulesConfig, Tier};
use serde_json::{Value, json};

use crate::shadow::{config, house, pause, told};
use crate::support::{House, raised};

fn with_comparer() -> ShadowConfig {
    let rules = RulesConfig {
        comparer: Some("judge".parse().unwrap()),
        ..RulesConfig::default()
    };
    ShadowConfig {
        programs: [("p".to_owned(), rules)].into(),
        ..config()
    }
}

/// Stable answers the comparer's program with this, and every other with its inputs.
fn comparer_says(
    house: &House,
    verdict: impl Fn() -> Result<Value, PoolError> + Send + Sync + 'static,
) {
    house.stable.answer_with(move |call| {
        if call.program.key.id.as_str() == "judge" {
            assert!(call.inputs["stable"].is_object() && call.inputs["candidate"].is_object());
            return verdict().map(|said| FakePool::reply(&said));
        }
        Ok(FakePool::reply(&Value::Object((*call.inputs).clone())))
    });
}

#[tokio::test(start_paused = true)]
async fn the_users_comparer_judges_words() {
    let house = house(with_comparer()).await;
    let program = house.program("p", true).await;
    house.program("judge", true).await;
    house.candidate.answer(&json!({"text": "in other words"}));
    comparer_says(&house, || Ok(json!({"equal": true})));
    house.call(&program, "s").await.unwrap();
    pause().await;
    let seen = told(&house, &program);
    assert_eq!((seen.compared, seen.different), (1, 0));
    comparer_says(&house, || {
        Ok(json!({"equal": false, "why": "it means another city"}))
    });
    house.call(&program, "s").await.unwrap();
    pause().await;
    let case = &house.router.shadow_cases(None, 1)[0];
    assert_eq!(case.differences[0].rule, Tier::Comparer);
    assert_eq!(case.differences[0].what, "it means another city");
    // The form of an answer is not the comparer's to excuse.
    house.candidate.answer(&json!({"text": 5}));
    comparer_says(&house, || Ok(json!({"equal": true})));
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &program).by_rule[&Tier::Fields], 1);
}

#[tokio::test(start_paused = true)]
async fn a_comparer_that_tells_stable_from_itself_is_told() {
    let mut shadow = with_comparer();
    shadow.noise.learn_first = 4;
    let house = house(shadow).await;
    let program = house.program("p", true).await;
    house.program("judge", true).await;
    house.candidate.answer(&json!({"text": "in other words"}));
    let asked = AtomicU64::new(0);
    // The control's turn comes before the copy's: of each pair of answers the first is stable's own.
    comparer_says(&house, move || {
        let asked = asked.fetch_add(1, SeqCst);
        Ok(json!({"equal": !asked.is_multiple_of(4)}))
    });
    for _ in 0..4 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let seen = told(&house, &program);
    assert_eq!(
        (seen.comparer_controls, seen.comparer_controls_different),
        (4, 2),
        "{seen:?}"
    );
    assert_eq!(
        (seen.compared, seen.different),
        (1, 0),
        "those are no copies"
    );
}

#[tokio::test(start_paused = true)]
async fn a_comparer_yields_to_callers_and_keeps_within_the_caps() {
    let house = house(ShadowConfig {
        calls_per_minute: 5,
        tokens_per_minute: 100,
        ..with_comparer()
    })
    .await;
    let program = house.program("p", true).await;
    house.program("judge", true).await;
    house.candidate.answer(&json!({"text": "in other words"}));
    let unjudged = || {
        let seen = told(&house, &program);
        (
            seen.compared,
            seen.unjudged,
            seen.trouble.unwrap_or_default(),
        )
    };
    house.stable.status_with(|status| status.queued = 1);
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(house.stable.calls(), 1, "the caller's, and no comparer's");
    let (compared, left, why) = unjudged();
    assert_eq!((compared, left), (0, 1));
    assert!(why.contains("no room beside its callers"), "{why}");
    let counts = house.router.shadow().counts;
    assert_eq!((counts.copied, counts.busy), (1, 0), "the copy was made");
    assert_eq!(counts.comparer_no_room, 1);
    let standing = &house.router.shadow().comparers;
    assert!(standing.iter().all(|one| one.failed == 0), "{standing:?}");

    // Each comparison costs two calls of the five; one was used.
    house.stable.status_with(|_| {});
    house.stable.answer_with(|call| {
        let reply = FakePool::reply(&json!({"equal": true, "text": "hello"}));
        let judges = call.program.key.id.as_str() == "judge";
        let usage = judges.then(|| Usage {
            total_tokens: 60,
            ..Usage::default()
        });
        Ok(Reply { usage, ..reply })
    });
    house
        .candidate
        .answer(&json!({"equal": true, "text": "hi"}));
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(unjudged().0, 1);
    let shadow = house.router.shadow();
    assert_eq!(
        (shadow.calls_last_minute, shadow.tokens_last_minute),
        (3, 60)
    );
    // Another sixty tokens are more than the hundred.
    house.call(&program, "s").await.unwrap();
    pause().await;
    let (compared, left, why) = unjudged();
    assert_eq!((compared, left), (1, 2));
    assert!(why.contains("cost in a minute"), "{why}");
    assert_eq!(house.router.shadow().counts.comparer_no_room, 2);
}

#[tokio::test(start_paused = true)]
async fn a_comparer_that_throws_hangs_or_babbles_is_said_and_left_alone() {
    let house = house(with_comparer()).await;
    let program = house.program("p", true).await;
    house.candidate.answer(&json!({"text": "in other words"}));
    let trouble = |house: &House| told(house, &program).trouble.unwrap();

    house.call(&program, "s").await.unwrap();
    pause().await;
    assert!(
        trouble(&house).contains("there is no program judge"),
        "{}",
        trouble(&house)
    );

    let judge = house.program("judge", true).await;
    comparer_says(&house, || Err(raised()));
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert!(
        trouble(&house).contains("the comparer judge failed"),
        "{}",
        trouble(&house)
    );

    comparer_says(&house, || Ok(json!({"same": 1})));
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert!(
        trouble(&house).contains("answered no `equal`"),
        "{}",
        trouble(&house)
    );

    comparer_says(&house, || Ok(json!({"equal": true})));
    house
        .stable
        .latency_with(|call| match call.program.key.id.as_str() {
            "judge" => Duration::from_secs(3_600),
            _ => Duration::ZERO,
        });
    house.call(&program, "s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(
        trouble(&house).contains("did not answer within 5s"),
        "{}",
        trouble(&house)
    );

    let asked = house.stable.calls();
    house.call(&program, "s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(house.stable.calls(), asked + 1, "the comparer is not asked");
    assert!(
        trouble(&house).contains("failed 3 times in a row"),
        "{}",
        trouble(&house)
    );
    let seen = told(&house, &program);
    assert_eq!(
        (seen.compared, seen.unjudged),
        (0, 5),
        "neither equal nor different"
    );
    assert!(house.router.shadow().comparers[0].suspended_ms.is_some());

    house.stable.latency(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(600)).await;
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &program).compared, 1, "asked again: {judge}");
}

#[tokio::test(start_paused = true)]
async fn a_case_is_run_again_with_its_comparer_and_counted_nowhere() {
    let house = house(with_comparer()).await;
    let program = house.program("p", true).await;
    house.program("judge", true).await;
    house.candidate.answer(&json!({"text": "in other words"}));
    comparer_says(&house, || {
        Ok(json!({"equal": false, "why": "another city"}))
    });
    house.call(&program, "s").await.unwrap();
    pause().await;
    let case = house.router.shadow_cases(Some(&program), 1).remove(0);
    let before = house.router.shadow();
    let again = || async { house.router.replay_case(&case).await.unwrap().unwrap() };

    let differs = again().await;
    assert_eq!(differs.differences.unwrap()[0].what, "another city");
    comparer_says(&house, || Ok(json!({"equal": true})));
    assert_eq!(again().await.differences, Some(Vec::new()));
    comparer_says(&house, || Err(raised()));
    for _ in 0..4 {
        // Asked each time: whoever mends it wants to see it fail.
        let unjudged = again().await;
        assert_eq!(unjudged.differences, None);
        let why = unjudged.unjudged.unwrap();
        assert!(why.contains("the comparer judge failed"), "{why}");
    }
    // The form of an answer is not the comparer's to excuse.
    house.candidate.answer(&json!({"text": 5}));
    let form = again().await;
    assert_eq!(form.differences.unwrap()[0].rule, Tier::Fields);
    assert_eq!(form.unjudged, None);
    assert_eq!(house.router.shadow(), before);
}
