//! Callers who leave: nobody is blamed, and nothing stays taken.

use std::time::Duration;

use dspex_pool::Pool;
use dspex_telemetry::Lane;

use crate::support::{House, crashed};

#[tokio::test]
async fn a_caller_who_leaves_is_nobodys_error() {
    for on_candidate in [true, false] {
        let house = if on_candidate {
            House::all_on_candidate().await
        } else {
            House::new().await
        };
        let program = house.program("p", true).await;
        let (pool, lane) = if on_candidate {
            (&house.candidate, Lane::Candidate)
        } else {
            (&house.stable, Lane::Stable)
        };
        pool.hold();
        for call in 1..=20 {
            tokio::select! {
                ended = house.call(&program, "s") => panic!("{ended:?}"),
                () = pool.wait_for_calls(call) => {}
            }
        }
        assert_eq!(pool.status().in_flight, 0, "the pool's slots are free");
        for lane in Lane::ALL {
            assert_eq!(house.window(lane).calls, 0, "nothing is recorded");
        }
        assert_eq!(house.circuit(lane), "closed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_leaves_gives_its_place_back() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    for _ in 0..5 {
        house.call(&program, "s").await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    house.candidate.answer(&serde_json::json!({"text": "well"}));
    house.candidate.hold();
    for call in 6..=30 {
        tokio::select! {
            ended = house.call(&program, "s") => panic!("{ended:?}"),
            () = house.candidate.wait_for_calls(call) => {}
        }
    }
    house.candidate.release();
    for _ in 0..3 {
        assert_eq!(
            house.call(&program, "s").await.unwrap().lane,
            Lane::Candidate
        );
    }
    assert_eq!(house.circuit(Lane::Candidate), "closed");
}
