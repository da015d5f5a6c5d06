//! Streamed calls: chunks reach the caller in order, and a call that has begun is never moved.

use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{ChunkReceiver, Pool as _, chunks};
use dspex_router::{ExecuteFailed, Executed};
use dspex_telemetry::{Blame, Lane};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{House, crashed, request};

/// Runs a streamed call to its end; answers its chunks and the lane that was told with the first.
async fn stream(
    house: &House,
    timeout: Duration,
) -> (
    Vec<String>,
    Option<Lane>,
    Result<Executed, Box<ExecuteFailed>>,
) {
    let (sender, mut receiver) = chunks(2);
    let lane = watch::Sender::new(None);
    let mut call = request(&"p".parse().unwrap(), "s");
    call.chunks = Some(sender);
    call.lane = Some(lane.clone());
    call.timeout = Some(timeout);
    let read = async {
        let (mut got, mut first) = (Vec::new(), None);
        while let Some(chunk) = receiver.next().await {
            first = first.or(*lane.borrow());
            got.push(chunk.get().to_owned());
        }
        (got, first)
    };
    let (ended, (got, first)) = tokio::join!(house.router.execute(call), read);
    (got, first, ended.map_err(Box::new))
}

fn numbers(pool: &FakePool, many: u64) {
    pool.chunks_with(move |_| (0..many).map(|number| json!(number)).collect());
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn chunks_come_in_order_and_then_the_answer() {
    let house = House::all_on_candidate().await;
    house.program("p", true).await;
    numbers(&house.candidate, 100);
    let (got, lane, ended) = stream(&house, LONG).await;
    let wanted: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(got, wanted);
    assert_eq!(lane, Some(Lane::Candidate));
    assert_eq!(ended.unwrap().lane, Lane::Candidate);
    assert_eq!(
        house.recorded(Lane::Candidate, "ok"),
        1,
        "one attempt, one record"
    );
}

#[tokio::test]
async fn a_call_that_fails_before_its_first_chunk_is_answered_by_stable() {
    let house = House::all_on_candidate().await;
    house.program("p", true).await;
    house.candidate.fail_with(crashed());
    numbers(&house.stable, 3);
    let (got, lane, ended) = stream(&house, LONG).await;
    assert_eq!(got, ["0", "1", "2"]);
    assert_eq!(lane, Some(Lane::Stable));
    let ended = ended.unwrap();
    assert!(ended.failed_over && ended.lane == Lane::Stable);
}

#[tokio::test]
async fn a_call_that_has_begun_is_never_moved() {
    let house = House::all_on_candidate().await;
    house.program("p", true).await;
    numbers(&house.candidate, 3);
    house.candidate.fail_with(crashed());
    let (got, _, ended) = stream(&house, LONG).await;
    assert_eq!(got, ["0", "1", "2"]);
    let failed = ended.unwrap_err();
    assert_eq!(failed.error.kind(), "worker-crashed");
    assert_eq!(failed.lane, Some(Lane::Candidate));
    assert_eq!(house.stable.calls(), 0);
    assert_eq!(house.recorded(Lane::Candidate, "worker-crashed"), 1);

    // Nor to another worker of stable.
    house.percent("0").await;
    numbers(&house.stable, 1);
    house.stable.fail_with(crashed());
    let (got, _, ended) = stream(&house, LONG).await;
    assert_eq!((got.len(), house.stable.calls()), (1, 1));
    assert_eq!(ended.unwrap_err().error.kind(), "worker-crashed");
}

#[tokio::test(start_paused = true)]
async fn a_silent_candidate_leaves_stable_its_share_of_the_time() {
    let house = House::all_on_candidate().await;
    house.program("p", true).await;
    house.candidate.hold();
    numbers(&house.stable, 1);
    let begun = Instant::now();
    let (got, lane, ended) = stream(&house, Duration::from_secs(10)).await;
    assert_eq!((got.len(), lane), (1, Some(Lane::Stable)));
    assert!(ended.unwrap().failed_over);
    assert_eq!(begun.elapsed().as_secs(), 5, "half of its time");
    assert_eq!(house.recorded(Lane::Candidate, "program-timeout"), 1);
    assert_eq!(house.candidate.status().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_has_begun_has_all_of_the_calls_time() {
    let house = House::all_on_candidate().await;
    house.program("p", true).await;
    numbers(&house.candidate, 1);
    house.candidate.latency(Duration::from_secs(8));
    let (got, _, ended) = stream(&house, Duration::from_secs(10)).await;
    assert_eq!(got.len(), 1);
    assert_eq!(ended.unwrap().lane, Lane::Candidate);
}

#[tokio::test]
async fn a_reader_who_stops_stops_the_program_and_one_who_leaves_ends_it() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    numbers(&house.stable, 1_000);
    let (sender, mut receiver): (_, ChunkReceiver) = chunks(4);
    let mut call = request(&program, "s");
    call.chunks = Some(sender.clone());
    let mut running = Box::pin(house.router.execute(call));
    let read = async {
        for _ in 0..10 {
            receiver.next().await.unwrap();
        }
        // Whoever sends has every chance to send more than it may.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = &mut running => panic!("{ended:?}"),
        () = read => {}
    }
    assert_eq!(sender.taken(), 10);
    assert_eq!(
        sender.sent(),
        14,
        "ten were taken, and four more may be sent"
    );
    drop(running);
    assert_eq!(house.stable.status().in_flight, 0);
    assert_eq!(house.window(Lane::Stable).calls, 0, "nobody's error");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_waits_for_its_reader_until_the_end_is_not_to_blame() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    numbers(&house.stable, 1_000);
    let (sender, _receiver) = chunks(4);
    let mut call = request(&program, "s");
    call.chunks = Some(sender);
    let failed = house.router.execute(call).await.unwrap_err();
    assert_eq!(failed.error.kind(), "program-timeout");
    assert_eq!(house.window(Lane::Stable).errors_of(Blame::Caller), 1);

    // One that is merely slow is.
    house.stable.latency(Duration::from_secs(100));
    numbers(&house.stable, 3);
    let (sender, _receiver) = chunks(4);
    let mut call = request(&program, "s");
    call.chunks = Some(sender);
    house.router.execute(call).await.unwrap_err();
    assert_eq!(house.window(Lane::Stable).errors_of(Blame::Program), 1);
}
