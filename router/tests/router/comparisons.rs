//! What comparisons come to: cases, noise, and programs too many.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use dspex_pool::testing::FakePool;
use dspex_router::compare::Tier;
use dspex_router::{NoiseConfig, ShadowConfig};
use dspex_telemetry::Lane;
use serde_json::json;

use crate::shadow::{config, house, pause, told};

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
