//! When a lane is not asked any more, and when it is asked again.

use std::time::Duration;

use dspex_pool::PoolError;
use dspex_router::RouterError;
use dspex_telemetry::{Blame, Lane};
use tokio::task::JoinSet;

use crate::support::{House, crashed, raised, request};

#[tokio::test(start_paused = true)]
async fn a_failing_candidate_is_left_alone_and_asked_again_later() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    assert_eq!(house.circuit(Lane::Candidate), "open");

    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, true));
    assert_eq!(house.candidate.calls(), 5, "an open circuit asks nobody");
    let window = house.window(Lane::Candidate);
    assert_eq!((window.calls, window.errors_of(Blame::Pool)), (6, 6));
    assert_eq!(
        house.recorded(Lane::Candidate, "circuit-open"),
        1,
        "it was the candidate's call, and it could not serve it"
    );

    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(house.circuit(Lane::Candidate), "half_open");
    house.candidate.answer(&serde_json::json!({"text": "well"}));
    for _ in 0..3 {
        assert_eq!(
            house.call(&program, "s").await.unwrap().lane,
            Lane::Candidate
        );
    }
    assert_eq!(house.circuit(Lane::Candidate), "closed");
}

#[tokio::test]
async fn a_lost_worker_with_many_calls_is_one_loss() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.answer_with(|_| Err(crashed()));
    for _ in 0..20 {
        house.call(&program, "s").await.unwrap();
    }
    assert_eq!(house.circuit(Lane::Candidate), "closed");
    assert_eq!(house.window(Lane::Candidate).errors_of(Blame::Pool), 20);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_the_circuit_again() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);
    assert_eq!(house.circuit(Lane::Candidate), "open");
    assert_eq!(house.candidate.calls(), 6);
}

#[tokio::test]
async fn faults_of_programs_and_providers_open_no_circuit() {
    let provider = PoolError::Provider {
        message: "rate limited".to_owned(),
        status: Some(429),
    };
    let input = PoolError::InvalidInput {
        message: "input \"text\" is missing".to_owned(),
    };
    for error in [raised(), provider, input] {
        let house = House::all_on_candidate().await;
        let program = house.program("p", true).await;
        house.candidate.fail_with(error.clone());
        for _ in 0..50 {
            let failed = house.call(&program, "s").await.unwrap_err();
            assert_eq!(failed.lane, Some(Lane::Candidate), "{error:?}");
        }
        assert_eq!(house.circuit(Lane::Candidate), "closed", "{error:?}");
    }
}

#[tokio::test]
async fn a_new_candidate_begins_with_a_closed_circuit() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    let next = dspex_pool::testing::FakePool::new("v2");
    house.router.set_candidate(Some(next.shared()));
    assert_eq!(
        house.call(&program, "s").await.unwrap().lane,
        Lane::Candidate
    );
    assert_eq!(next.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_three_calls_through_and_stable_has_the_others() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    house
        .candidate
        .answer(&serde_json::json!({"text": "well"}))
        .latency(Duration::from_secs(1));
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (router, request) = (house.router.clone(), request(&program, "s"));
        calls.spawn(async move { router.execute(request).await });
    }
    let answers = calls.join_all().await;
    let there = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().lane == Lane::Candidate)
        .count();
    assert_eq!(there, 3);
}

#[tokio::test(start_paused = true)]
async fn stables_open_circuit_refuses_only_where_there_is_no_worker() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.stable.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap_err();
    }
    assert_eq!(house.circuit(Lane::Stable), "open");

    // One program that crashes must not shut out the callers of the others.
    house.stable.answer(&serde_json::json!({"text": "well"}));
    assert_eq!(house.call(&program, "s").await.unwrap().lane, Lane::Stable);

    house.stable.set_ready(0);
    let failed = house.call(&program, "s").await.unwrap_err();
    match failed.error {
        RouterError::CircuitOpen { lane, retry_after } => {
            assert_eq!(lane, Lane::Stable);
            assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
        }
        other => panic!("{other:?}"),
    }
    house.stable.set_ready(1);
    house.call(&program, "s").await.unwrap();
}
