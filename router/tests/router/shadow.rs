//! Copies for the other lane: which calls are copied, what they may cost, what comparisons come to.
//!
//! Time is paused: a pause lets every copy that can end do so.

use std::sync::Arc;
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{Call, PoolError, ProgramId, Reply, Usage, chunks};
use dspex_router::compare::Tier;
use dspex_router::{
    Draft, Execute, MemoryCatalog, NoiseConfig, ProgramComparison, RouterConfig, ShadowConfig,
};
use dspex_telemetry::Lane;
use serde_json::json;

use crate::support::{House, crashed, draft, raised, request};

/// Everything is copied, and judged from the first call on.
pub(crate) fn config() -> ShadowConfig {
    ShadowConfig {
        noise: NoiseConfig {
            learn_first: 0,
            share: 0.0,
            floor: 0.0,
        },
        ..ShadowConfig::default()
    }
}

pub(crate) async fn house(shadow: ShadowConfig) -> House {
    let router = RouterConfig {
        shadow,
        ..RouterConfig::default()
    };
    let house = House::with(Arc::new(MemoryCatalog::new()), router).await;
    house.run_shadow();
    house.copy_share("100%").await;
    house
}

/// Lets every copy that can end do so.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

pub(crate) fn told(house: &House, program: &ProgramId) -> ProgramComparison {
    let programs = house.router.shadow().programs;
    let told = programs.into_iter().find(|told| told.program == *program);
    told.unwrap_or_else(|| panic!("{program} was not compared: {:?}", house.router.shadow()))
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_compared_and_is_nobodys_call() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    for _ in 0..3 {
        let answer = house.call(&program, "s").await.unwrap();
        assert_eq!(answer.lane, Lane::Stable);
    }
    pause().await;
    let told = told(&house, &program);
    assert_eq!(
        (told.compared, told.different, told.rate),
        (3, 0, Some(0.0))
    );
    assert_eq!(house.candidate.calls(), 3);
    assert_eq!(
        house.window(Lane::Candidate).calls,
        0,
        "in no lane's window"
    );
    assert_eq!(house.window(Lane::Stable).calls, 3);
    assert_eq!(house.router.shadow().counts.copied, 3);
}

#[tokio::test(start_paused = true)]
async fn what_acts_what_remembers_and_what_streams_is_never_copied() {
    let house = house(config()).await;
    let make = |id: &str, repeatable, stateful, side_effects| Draft {
        repeatable,
        stateful,
        side_effects,
        ..draft(id)
    };
    let router = &house.router;
    // A callable may have acted on the world, where nobody says that it may be repeated.
    let acts = router
        .create_program(make("acts", None, false, None))
        .await
        .unwrap();
    let marked = make("marked", Some(true), false, Some(true));
    let marked = router.create_program(marked).await.unwrap();
    let remembers = make("remembers", Some(true), true, Some(false));
    let remembers = router.create_program(remembers).await.unwrap();
    let harmless = make("harmless", Some(false), false, Some(false));
    let harmless = router.create_program(harmless).await.unwrap();
    assert!(acts.side_effects && marked.side_effects && !harmless.side_effects);
    for program in [&acts, &marked, &remembers] {
        house.call(&program.key.id, "s").await.unwrap();
    }
    let (sender, _reader) = chunks(4);
    let streamed = Execute {
        chunks: Some(sender),
        ..request(&harmless.key.id, "s")
    };
    router.execute(streamed).await.unwrap();
    pause().await;
    assert_eq!(house.candidate.calls(), 0);
    let counts = router.shadow().counts;
    assert_eq!(
        (counts.side_effects, counts.stateful, counts.streamed),
        (2, 1, 1)
    );
    house.call(&harmless.key.id, "s").await.unwrap();
    pause().await;
    assert_eq!(house.candidate.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_share_is_a_share_of_calls_and_none_is_none() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.copy_share("0%").await;
    house.call(&program, "s").await.unwrap();
    assert_eq!(house.router.shadow().counts.drawn, 0);
    house.copy_share("30%").await;
    for n in 0..1_000 {
        let call = Execute {
            request_id: format!("r-{n}").into(),
            ..request(&program, "one session")
        };
        house.router.execute(call).await.unwrap();
    }
    let drawn = house.router.shadow().counts.drawn;
    assert!((250..=350).contains(&drawn), "{drawn} of 1000");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_the_budget_refuses_costs_nothing() {
    let mut router = RouterConfig {
        shadow: config(),
        ..RouterConfig::default()
    };
    router.retry_budget.share = 0.0;
    router.retry_budget.minimum_per_second = 0.0;
    let house = House::with(Arc::new(MemoryCatalog::new()), router).await;
    house.run_shadow();
    house.copy_share("100%").await;
    let program = house.program("p", true).await;
    house.call(&program, "s").await.unwrap();
    pause().await;
    let shadow = house.router.shadow();
    assert_eq!((shadow.counts.budget, shadow.counts.copied), (1, 0));
    assert_eq!(shadow.calls_last_minute, 0, "the cap is for copies made");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_no_caller_waits() {
    let house = house(ShadowConfig {
        queue: 2,
        concurrency: 1,
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    house.candidate.hold();
    for _ in 0..10 {
        let answer = house.call(&program, "s").await.unwrap();
        assert!(
            answer.total < Duration::from_millis(1),
            "virtual time stood still"
        );
        tokio::task::yield_now().await;
    }
    let counts = house.router.shadow().counts;
    assert_eq!(counts.drawn, 10);
    assert!(counts.queue_full >= 7, "{counts:?}");
    tokio::time::sleep(Duration::from_secs(31)).await;
    house.candidate.release();
    pause().await;
    let counts = house.router.shadow().counts;
    assert_eq!(
        counts.too_old + counts.copied + counts.queue_full,
        10,
        "{counts:?}"
    );
    assert!(counts.too_old >= 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_minute_costs_no_more_than_the_cap() {
    let house = house(ShadowConfig {
        calls_per_minute: 3,
        tokens_per_minute: 100,
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    assert_eq!(house.candidate.calls(), 3);
    assert_eq!(house.router.shadow().counts.cost, 2);
    tokio::time::sleep(Duration::from_secs(61)).await;
    house.stable.answer(&json!({"usage": {"total_tokens": 60}}));
    house
        .candidate
        .answer(&json!({"usage": {"total_tokens": 60}}));
    for _ in 0..2 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let shadow = house.router.shadow();
    assert_eq!((house.candidate.calls(), shadow.counts.cost), (4, 3));
    assert_eq!(shadow.tokens_last_minute, 60);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_workers_counted_are_within_the_cap() {
    let house = house(ShadowConfig {
        tokens_per_minute: 100,
        ..config()
    })
    .await;
    let program = house.program("p", true).await;
    // The outputs are those that were declared, and say nothing of tokens.
    let answer = |total_tokens| {
        move |_: &Call| {
            Ok(Reply {
                usage: Some(Usage {
                    total_tokens,
                    ..Usage::default()
                }),
                ..FakePool::reply(&json!({"answer": "Paris"}))
            })
        }
    };
    house.stable.answer_with(answer(40));
    house.candidate.answer_with(answer(50));
    for _ in 0..3 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let shadow = house.router.shadow();
    // The second would have come to 90 by what stable used; the candidate uses more.
    assert_eq!(shadow.tokens_last_minute, 100);
    assert_eq!((shadow.counts.copied, shadow.counts.cost), (2, 1));
    assert_eq!(house.candidate.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_the_pools_failure_and_a_raised_error_a_difference() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..10 {
        house.call(&program, "s").await.unwrap();
        pause().await;
    }
    let seen = told(&house, &program);
    assert_eq!((seen.failed, seen.compared), (10, 0));
    assert!(
        seen.trouble.as_deref().unwrap().contains("exit code 17"),
        "{seen:?}"
    );
    assert_eq!(house.router.health().candidate.unwrap().failures, 10);
    assert_eq!(
        house.circuit(Lane::Candidate),
        "closed",
        "copies touch no circuit"
    );
    assert_eq!(house.window(Lane::Candidate).calls, 0);

    house.candidate.fail_with(raised());
    house.call(&program, "s").await.unwrap();
    pause().await;
    let seen = told(&house, &program);
    assert_eq!((seen.compared, seen.different), (1, 1));
    let case = &house.router.shadow_cases(None, 1)[0];
    assert_eq!(case.differences[0].rule, Tier::Failure);
    assert!(case.differences[0].what.contains("ValueError"), "{case:?}");
    house.candidate.fail_with(PoolError::Provider {
        message: "429".to_owned(),
        status: Some(429),
    });
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(
        told(&house, &program).compared,
        1,
        "a provider's fault says nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_copy_yields_to_callers() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    for _ in 0..5 {
        house.candidate.fail_with(crashed());
        house.percent("50%").await;
    }
    house.percent("0%").await;
    house.candidate.status_with(|status| status.queued = 1);
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(house.router.shadow().counts.busy, 1);
    house.candidate.status_with(|_| {});
    house.percent("100%").await;
    for n in 0..5 {
        // Each is answered by stable, in place of a candidate that crashes.
        let answer = house.call(&program, &format!("s{n}")).await.unwrap();
        assert!(answer.failed_over);
    }
    assert_eq!(house.circuit(Lane::Candidate), "open");
    house.percent("0%").await;
    house.call(&program, "s").await.unwrap();
    pause().await;
    let counts = house.router.shadow().counts;
    assert_eq!((counts.circuit, counts.copied), (1, 0), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn once_the_candidate_leads_its_calls_are_copied_to_stable() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.percent("100%").await;
    house.stable.answer(&json!({"answer": "Paris"}));
    house.candidate.answer(&json!({"answer": "Rome"}));
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!(answer.lane, Lane::Candidate);
    pause().await;
    assert_eq!((house.stable.calls(), house.candidate.calls()), (1, 1));
    let case = &house.router.shadow_cases(None, 1)[0];
    assert_eq!(case.answered_by, Lane::Candidate);
    assert_eq!(case.stable["answer"], "Paris");
    assert_eq!(house.window(Lane::Stable).calls, 0);
    house.percent("50%").await;
    assert_eq!(
        house.router.shadow().leading,
        Lane::Stable,
        "at half, stable leads still"
    );
}

#[tokio::test(start_paused = true)]
async fn another_candidate_begins_at_nothing() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.candidate.answer(&json!({"text": "other"}));
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &program).different, 1);
    house.candidate.hold();
    house.call(&program, "s").await.unwrap();
    pause().await;
    house
        .router
        .set_candidate(Some(FakePool::new("v3").shared()));
    assert!(house.router.shadow().programs.is_empty());
    assert!(house.router.shadow_cases(None, 10).is_empty());
    // What was under way for the one before is not counted for this one.
    house.candidate.release();
    pause().await;
    assert!(
        house
            .router
            .shadow()
            .programs
            .iter()
            .all(|told| told.different == 0)
    );
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(told(&house, &program).compared, 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_ends_with_its_time_and_with_the_server() {
    let house = house(config()).await;
    let program = house.program("p", true).await;
    house.candidate.latency(Duration::from_secs(3_600));
    house.call(&program, "s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(told(&house, &program).failed, 1);
    house.call(&program, "s").await.unwrap();
    pause().await;
    assert_eq!(house.router.health().candidate.unwrap().in_flight, 1);
    house.stop_following().await;
    assert_eq!(house.router.health().candidate.unwrap().in_flight, 0);
}
