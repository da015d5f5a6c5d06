//! Streamed calls: chunks reach the caller in order, and a call that has begun is never moved.

use std::time::Duration;

use dspex_flags::{FlagValue, bucket, dspex};
use dspex_pool::testing::FakePool;
use dspex_pool::{ChunkReceiver, Pool as _, chunks};
use dspex_router::{ExecuteFailed, Executed};
use dspex_telemetry::{Blame, Lane};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
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

/// A stream of this session that is in the middle: one chunk was read, and the rest waits.
struct Midway {
    chunks: ChunkReceiver,
    call: JoinSet<Result<Executed, ExecuteFailed>>,
}

impl Midway {
    async fn open(house: &House, session: &str) -> Self {
        let (sender, mut chunks) = chunks(1);
        let mut asked = request(&"p".parse().unwrap(), session);
        asked.chunks = Some(sender);
        let router = house.router.clone();
        let mut call = JoinSet::new();
        call.spawn(async move { router.execute(asked).await });
        assert_eq!(chunks.next().await.unwrap().get(), "0");
        Self { chunks, call }
    }

    /// Reads to the end; answers the lane that answered.
    async fn end(mut self) -> Lane {
        let mut got = 1;
        while self.chunks.next().await.is_some() {
            got += 1;
        }
        assert_eq!(got, 20, "nothing is lost");
        let ended = self.call.join_next().await.unwrap().unwrap().unwrap();
        assert!(!ended.failed_over);
        ended.lane
    }
}

async fn streaming_house() -> House {
    let house = House::new().await;
    house.program("p", true).await;
    numbers(&house.stable, 20);
    numbers(&house.candidate, 20);
    house
}

/// A session whose bucket lies below this share, and not below that.
fn session_between(least: u32, most: u32) -> String {
    let key = dspex::GRADUAL_ROLLOUT_PERCENTAGE.key;
    (0..10_000)
        .map(|n| format!("s{n}"))
        .find(|session| (least..most).contains(&u32::from(bucket(key, session).get())))
        .unwrap()
}

async fn lane_of(house: &House, session: &str) -> Lane {
    let answer = house.call(&"p".parse().unwrap(), session).await.unwrap();
    assert!(!answer.failed_over);
    answer.lane
}

#[tokio::test]
async fn a_session_in_the_middle_of_a_stream_is_not_moved_by_a_raise() {
    let house = streaming_house().await;
    let (mine, other) = (session_between(1_000, 4_000), session_between(4_000, 4_900));
    house.percent("5").await;
    let stream = Midway::open(&house, &mine).await;
    house.percent("50").await;
    assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
    assert_eq!(lane_of(&house, &other).await, Lane::Candidate);
    // A second stream goes with the first, and keeps the side where the first ends before it.
    let second = Midway::open(&house, &mine).await;
    assert_eq!(stream.end().await, Lane::Stable);
    assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
    assert_eq!(second.end().await, Lane::Stable);
    assert_eq!(lane_of(&house, &mine).await, Lane::Candidate);
    // A caller who leaves ends it as well.
    house.percent("5").await;
    let left = Midway::open(&house, &mine).await;
    house.percent("50").await;
    assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
    let Midway { chunks, mut call } = left;
    drop(chunks);
    call.shutdown().await;
    assert_eq!(lane_of(&house, &mine).await, Lane::Candidate);
}

#[tokio::test]
async fn a_session_in_the_middle_of_a_stream_is_not_moved_by_a_lowering() {
    let house = streaming_house().await;
    let mine = session_between(1_000, 4_000);
    house.percent("50").await;
    let stream = Midway::open(&house, &mine).await;
    house.percent("5").await;
    assert_eq!(lane_of(&house, &mine).await, Lane::Candidate);
    assert_eq!(stream.end().await, Lane::Candidate);
    assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
}

#[tokio::test]
async fn a_rollback_moves_a_session_in_the_middle_of_a_stream() {
    let switch = dspex::POOL_V2_ENABLED.key;
    for kill in [false, true] {
        let house = streaming_house().await;
        let mine = session_between(1_000, 4_000);
        house.percent("50").await;
        let stream = Midway::open(&house, &mine).await;
        if kill {
            let revision = house.set(&[(switch, FlagValue::Bool(false))]).await;
            let served = house.flags.wait_acknowledged(revision, LONG);
            served.await.unwrap();
        } else {
            house.percent("0").await;
        }
        let before = house.candidate.calls();
        assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
        // Nor is it taken back there by what it was before the rollback.
        house.percent("5").await;
        assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
        assert_eq!(house.candidate.calls(), before);
        // What has begun is not cut off.
        assert_eq!(stream.end().await, Lane::Candidate);
    }
}

#[tokio::test]
async fn a_stream_on_one_candidate_keeps_nobody_on_the_next() {
    let house = streaming_house().await;
    let mine = session_between(1_000, 4_000);
    house.percent("50").await;
    let stream = Midway::open(&house, &mine).await;
    house.percent("5").await;
    let next = FakePool::new("v3");
    house.router.set_candidate(Some(next.shared()));
    assert_eq!(lane_of(&house, &mine).await, Lane::Stable);
    assert_eq!(next.calls(), 0);
    assert_eq!(stream.end().await, Lane::Candidate);
}
