//! What comparisons come to: noise, cases, and the user's own comparer.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{PoolError, Reply, Usage};
use dspex_router::compare::{RulesConfig, Tier};
use dspex_router::{NoiseConfig, ShadowConfig};
use dspex_telemetry::Lane;
use serde_json::{Value, json};

use crate::shadow::{config, house, pause, told};
use crate::support::{House, raised};

#[tokio::test(start_paused = true)]
async fn a_difference_is_kept_whole_and_can_be_run_again() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.stable.answer(&json!({"answer": "Paris"}));
    house.candidate.answer(&json!({"answer": "Rome"}));
    house.call(&program, "s").await.unwrap();
    pause().await;
    let told = told(&house, &program);
    assert_eq!((told.compared, told.different), (1, 1));
    assert_eq!(told.by_rule[&Tier::Text], 1);
    let cases = house.router.shadow_cases(Some(&program), 10);
    let case = house.router.shadow_case(cases[0].id).unwrap();
    assert_eq!(case.inputs["text"], "hello");
    assert_eq!(case.stable["answer"], "Paris");
    assert_eq!(case.candidate.as_ref().unwrap()["answer"], "Rome");
    assert_eq!(
        (case.differences[0].path.as_str(), case.differences[0].rule),
        ("/answer", Tier::Text)
    );
    assert_eq!(case.answered_by, Lane::Stable);

    house.candidate.answer(&json!({"answer": "paris"}));
    let again = house.router.replay_case(&case).await.unwrap().unwrap();
    assert_eq!(again.differences, Some(Vec::new()), "mended");
    house.router.set_candidate(None);
    assert!(
        house.router.shadow_case(case.id).is_some(),
        "kept for whoever looks into it"
    );
    assert_eq!(house.router.replay_case(&case).await.unwrap(), None);
    house.router.delete(&program).await.unwrap();
    assert!(
        house.router.shadow_case(case.id).is_none(),
        "gone with its program"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stable_does_not_answer_twice_alike_does_not_count() {
    let house = house(ShadowConfig {
        noise: NoiseConfig {
            learn_first: 3,
            share: 0.0,
            floor: 0.01,
        },
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    let clock = AtomicU64::new(0);
    house.stable.answer_with(move |_| {
        let now = clock.fetch_add(1, SeqCst);
        Ok(FakePool::reply(&json!({"answer": "Paris", "now": now})))
    });
    house
        .candidate
        .answer(&json!({"answer": "Paris", "now": 1_000_000}));
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let seen = told(&house, &program);
    assert_eq!(seen.noise, ["/now"]);
    assert_eq!((seen.noise_samples, seen.learning), (3, 2), "{seen:?}");
    assert_eq!(
        (seen.compared, seen.different, seen.hidden_by_noise),
        (3, 0, 0),
        "the answer is compared, and is no noise"
    );
    house.candidate.answer(&json!({"answer": "Rome", "now": 5}));
    house.call(&program, "s").await.unwrap();
    pause().await;
    let seen = told(&house, &program);
    assert_eq!((seen.compared, seen.different), (4, 1));
    let case = &house.router.shadow_cases(None, 1)[0];
    assert_eq!(
        case.differences.len(),
        1,
        "only what counts: {:?}",
        case.differences
    );
}

#[tokio::test(start_paused = true)]
async fn where_noise_leaves_nothing_to_compare_nothing_counts_as_equal() {
    let house = house(ShadowConfig {
        noise: NoiseConfig {
            learn_first: 3,
            share: 0.0,
            floor: 0.01,
        },
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    let said = AtomicU64::new(0);
    house.stable.answer_with(move |_| {
        // Two words in turn: a candidate that says one of them is equal half of the time.
        let word = ["yes", "no"][usize::try_from(said.fetch_add(1, SeqCst)).unwrap() % 2];
        Ok(FakePool::reply(&json!({"answer": word})))
    });
    house.candidate.answer(&json!({"answer": "yes"}));
    for _ in 0..13 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let seen = told(&house, &program);
    assert_eq!(
        (seen.compared, seen.different, seen.hidden_by_noise),
        (0, 0, 11),
        "{seen:?}"
    );
    assert_eq!((seen.rate, seen.at_least, seen.at_most), (None, 0.0, 1.0));
    // What is wrong in form is found, and is a share of all.
    house.candidate.answer(&json!({}));
    house.call(&program, "s").await.unwrap();
    pause().await;
    let seen = told(&house, &program);
    assert_eq!((seen.compared, seen.different), (1, 1));
    assert!(seen.rate.unwrap() < 0.1 && seen.at_most == 1.0, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn words_that_waver_hide_no_missing_field_and_no_wrong_type() {
    let house = house(ShadowConfig {
        noise: NoiseConfig {
            learn_first: 3,
            share: 0.0,
            floor: 0.01,
        },
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    let said = AtomicU64::new(0);
    house.stable.answer_with(move |_| {
        let words = format!("in the {}. words", said.fetch_add(1, SeqCst));
        Ok(FakePool::reply(&json!({"answer": words})))
    });
    house.candidate.answer(&json!({"answer": "in other words"}));
    for _ in 0..3 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    assert_eq!(told(&house, &program).noise, ["/answer"]);
    for broken in [json!({}), json!({"answer": 5}), json!({"answer": null})] {
        let before = told(&house, &program).different;
        house.candidate.answer(&broken);
        house.call(&program, "s").await.unwrap();
        pause().await;
        let seen = told(&house, &program);
        assert_eq!(seen.different, before + 1, "{broken}: {seen:?}");
        let case = &house.router.shadow_cases(None, 1)[0];
        assert_eq!(case.differences[0].rule, Tier::Fields, "{case:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_of_a_pool_ends_when_another_is_stable() {
    let learning = ShadowConfig {
        noise: NoiseConfig {
            learn_first: 2,
            share: 0.0,
            floor: 0.01,
        },
        ..config()
    };
    let house = house(learning).await;
    let program = house.program("p", true).await;
    let said = AtomicU64::new(0);
    house.stable.answer_with(move |_| {
        let said = said.fetch_add(1, SeqCst);
        Ok(FakePool::reply(&json!({"answer": "Paris", "now": said})))
    });
    let answer = json!({"answer": "Paris", "now": 1_000_000});
    house.candidate.answer(&answer);
    let call = async || {
        house.call(&program, "s").await.unwrap();
        pause().await;
        told(&house, &program)
    };
    call().await;
    assert_eq!(call().await.noise, ["/now"]);
    // Another candidate for the same pool: what is known of that one holds.
    house.router.set_candidate(Some(house.candidate.shared()));
    assert_eq!(call().await.noise, ["/now"]);

    // The pool that never wavered is stable now.
    let before = house.router.promote().unwrap();
    let next = FakePool::new("v3");
    next.answer(&json!({"answer": "Paris", "now": 5}));
    house.router.set_candidate(Some(next.shared()));
    for learnt in 1..=2 {
        let seen = call().await;
        assert_eq!((seen.noise_samples, seen.noise.len()), (learnt, 0));
    }
    let seen = call().await;
    assert!(seen.by_rule[&Tier::Numbers] > 0, "no noise hides it");

    house.router.set_candidate(None);
    house.router.demote(before);
    assert_eq!(call().await.noise_samples, 1);
}

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
async fn a_program_too_many_is_not_copied_until_another_candidate_comes() {
    let house = house(ShadowConfig {
        calls_per_minute: 10_000,
        ..config()
    })
    .await;
    let mut last = None;
    for n in 0..1_001 {
        let program = house.program(&format!("p{n}"), true).await;
        house.call(&program, "s").await.unwrap();
        pause().await;
        last = Some(program);
    }
    let last = last.unwrap();
    let shadow = house.router.shadow();
    assert_eq!(shadow.programs.len(), 1_000);
    assert!(shadow.programs.iter().all(|told| told.compared == 1));
    let counts = shadow.counts;
    assert_eq!((counts.copied, counts.too_many_programs), (1_000, 1));
    assert_eq!(house.candidate.calls(), 1_000, "nobody is asked in vain");
    // One that is compared already goes on.
    house.call(&"p7".parse().unwrap(), "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &"p7".parse().unwrap()).compared, 2);

    house.router.set_candidate(Some(house.candidate.shared()));
    house.call(&last, "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &last).compared, 1);
    assert_eq!(house.router.shadow().programs.len(), 1);
    assert_eq!(house.router.shadow().counts.too_many_programs, 1);
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
