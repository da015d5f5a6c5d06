//! Sessions of stateful programs, from call to call.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{Pool as _, PoolError, ProgramId, Reply};
use dspex_router::{
    Draft, ExecuteFailed, Executed, MemoryCatalog, MemorySessions, RouterConfig, SessionStore,
};
use dspex_telemetry::{Blame, Lane};
use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::task::JoinSet;

use crate::session_stores::{key, open, saved};
use crate::support::{House, crashed, draft, raised, request};

/// Answers how many calls the session had before, and leaves one more.
fn counting(pool: &FakePool) {
    pool.answer_with(|call| {
        let before: u64 = call.state.as_ref().map_or(0, |state| {
            serde_json::from_str(state.as_json().get()).unwrap()
        });
        Ok(Reply {
            state: Some(to_raw_value(&(before + 1)).unwrap().into()),
            ..FakePool::reply(&json!({ "before": before }))
        })
    });
}

struct Counters {
    house: House,
    program: ProgramId,
}

impl Counters {
    async fn on(store: Arc<dyn SessionStore>, config: RouterConfig) -> Self {
        let stable = FakePool::new("v1");
        let catalog = Arc::new(MemoryCatalog::new());
        let mut house = House::whole(stable.shared(), catalog, store, config).await;
        house.stable = stable;
        counting(&house.stable);
        counting(&house.candidate);
        let made = house
            .router
            .create_program(Draft {
                stateful: true,
                repeatable: Some(true),
                ..draft("count")
            })
            .await
            .unwrap();
        assert!(made.stateful);
        let program = made.key.id.clone();
        Self { house, program }
    }

    async fn new() -> Self {
        Self::on(Arc::new(MemorySessions::new()), RouterConfig::default()).await
    }

    async fn call(&self, session: &str) -> Result<Executed, ExecuteFailed> {
        self.house.call(&self.program, session).await
    }

    async fn before(&self, session: &str) -> serde_json::Value {
        self.call(session).await.unwrap().outputs["before"].clone()
    }
}

#[tokio::test]
async fn a_sessions_state_goes_from_call_to_call_and_from_lane_to_lane() {
    let counters = Counters::new().await;
    for before in 0..3 {
        assert_eq!(counters.before("a").await, before);
    }
    assert_eq!(counters.before("b").await, 0, "a session of its own");
    counters.house.percent("100").await;
    let there = counters.call("a").await.unwrap();
    assert_eq!(
        (there.lane, &there.outputs["before"]),
        (Lane::Candidate, &json!(3))
    );
    counters.house.percent("0").await;
    assert_eq!(counters.before("a").await, 4, "and back");
    let known = counters.house.router.sessions().await.unwrap();
    assert_eq!((known.sessions, known.bytes, known.evicted), (2, 2, 0));
}

#[tokio::test]
async fn a_call_without_a_session_is_the_callers_error() {
    let counters = Counters::new().await;
    let mut call = request(&counters.program, "");
    call.session = None;
    for session in [None, Some("".into())] {
        call.session = session;
        let failed = counters
            .house
            .router
            .execute(call.clone())
            .await
            .unwrap_err();
        assert_eq!(failed.error.kind(), "session-required");
        assert_eq!(failed.lane, None);
    }
    assert_eq!(counters.house.stable.calls(), 0);
}

#[tokio::test]
async fn a_failed_call_leaves_the_state_as_it_was_and_a_lost_worker_loses_nothing() {
    let counters = Counters::new().await;
    assert_eq!(counters.before("a").await, 0);
    counters.house.stable.fail_with(raised());
    counters.call("a").await.unwrap_err();
    counting(&counters.house.stable);
    assert_eq!(counters.before("a").await, 1);

    // The candidate's worker dies under the call: stable goes on from the saved state.
    counters.house.percent("100").await;
    counters.house.candidate.fail_with(crashed());
    let answered = counters.call("a").await.unwrap();
    assert!(answered.failed_over);
    assert_eq!(answered.outputs["before"], 2);
}

#[tokio::test]
async fn a_state_over_the_limit_is_refused_and_the_old_one_stays() {
    let mut config = RouterConfig::default();
    config.sessions.max_state_bytes = 100;
    let counters = Counters::on(Arc::new(MemorySessions::new()), config).await;
    assert_eq!(counters.before("a").await, 0);
    counters.house.stable.answer_with(|_| {
        Ok(Reply {
            state: Some(to_raw_value(&"x".repeat(99)).unwrap().into()),
            ..FakePool::reply(&json!({}))
        })
    });
    let failed = counters.call("a").await.unwrap_err();
    let told = failed.to_string();
    assert!(
        told.contains("101 bytes") && told.contains("max_state_bytes"),
        "{told}"
    );
    let window = counters.house.window(Lane::Stable);
    assert_eq!(window.errors_of(Blame::Program), 1, "the program's fault");
    counting(&counters.house.stable);
    assert_eq!(counters.before("a").await, 1);
}

#[tokio::test]
async fn calls_of_a_session_run_one_after_another_and_those_of_others_beside_them() {
    let counters = Arc::new(Counters::new().await);
    counters.house.stable.hold();
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let counters = Arc::clone(&counters);
        calls.spawn(async move { counters.before("a").await });
    }
    let other = Arc::clone(&counters);
    calls.spawn(async move { other.before("b").await });
    counters.house.stable.wait_for_calls(2).await;
    assert_eq!(counters.house.stable.status().in_flight, 2, "one of each");
    counters.house.stable.release();
    let mut seen: Vec<u64> = Vec::new();
    while let Some(before) = calls.join_next().await {
        seen.push(before.unwrap().as_u64().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_session_counts_and_has_its_bounds() {
    let mut config = RouterConfig::default();
    config.sessions.max_waiting = 1;
    let counters = Counters::on(Arc::new(MemorySessions::new()), config).await;
    counters.house.stable.hold();
    let mut running = Box::pin(counters.call("a"));
    tokio::select! {
        ended = &mut running => panic!("{ended:?}"),
        () = counters.house.stable.wait_for_calls(1) => {}
    }
    let mut late = request(&counters.program, "a");
    late.timeout = Some(Duration::from_secs(3));
    let mut waiting = Box::pin(counters.house.router.execute(late));
    tokio::select! {
        biased;
        ended = &mut waiting => panic!("{ended:?}"),
        () = std::future::ready(()) => {}
    }
    let full = counters.call("a").await.unwrap_err();
    assert_eq!(full.error.kind(), "session-busy");
    assert!(full.error.retry_after().is_some());
    let late = waiting.await.unwrap_err();
    assert_eq!((late.error.kind(), late.lane), ("session-busy", None));
    counters.house.stable.release();
    running.await.unwrap();
    assert_eq!(counters.house.stable.calls(), 1, "those refused never ran");
}

#[tokio::test]
async fn a_deleted_programs_sessions_are_gone_with_it() {
    let counters = Counters::new().await;
    counters.before("a").await;
    counters
        .house
        .router
        .delete(&counters.program)
        .await
        .unwrap();
    assert_eq!(counters.house.router.sessions().await.unwrap().sessions, 0);
    counters
        .house
        .router
        .create_program(Draft {
            stateful: true,
            ..draft("count")
        })
        .await
        .unwrap();
    assert_eq!(counters.before("a").await, 0, "a new program");
}

/// Deletes the program while a call of it runs, and says what the store holds once that has ended.
async fn left_by_a_call_whose_program_was_deleted(store: Arc<dyn SessionStore>) -> u64 {
    let counters = Counters::on(store, RouterConfig::default()).await;
    let (running, deleted) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begun, goes_on) = (Arc::clone(&running), Arc::clone(&deleted));
    counters.house.stable.answer_with(move |_| {
        // The other thread of the runtime deletes meanwhile.
        begun.wait();
        goes_on.wait();
        Ok(Reply {
            state: Some(to_raw_value(&1).unwrap().into()),
            ..FakePool::reply(&json!({ "before": 0 }))
        })
    });
    let router = counters.house.router.clone();
    let program = counters.program.clone();
    let deleting = tokio::task::spawn_blocking(move || {
        running.wait();
        let ended = tokio::runtime::Handle::current().block_on(router.delete(&program));
        deleted.wait();
        ended
    });
    assert_eq!(
        counters.before("a").await,
        0,
        "a call in flight is answered"
    );
    deleting.await.unwrap().unwrap();
    counters.house.router.sessions().await.unwrap().sessions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_program_was_deleted_leaves_no_state_behind() {
    let left = left_by_a_call_whose_program_was_deleted(Arc::new(MemorySessions::new())).await;
    assert_eq!(left, 0);
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder.path().join("dspex.db")).await;
    let left = left_by_a_call_whose_program_was_deleted(Arc::new(store)).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_state_survives_the_server_and_a_hot_session_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dspex.db");
    let (store, writer) = open(&file).await;
    let store = Arc::new(store);
    let counters = Counters::on(store.clone(), RouterConfig::default()).await;
    assert_eq!(counters.before("a").await, 0);
    assert_eq!(counters.before("a").await, 1);
    // The state on disk is what the last answer promised, before anything is closed.
    let version = counters
        .house
        .router
        .get(&counters.program)
        .await
        .unwrap()
        .key
        .version;
    let on_disk = store.get(&key(version, "a")).await.unwrap().unwrap();
    assert_eq!(on_disk.state.as_json().get(), "2");
    // Changed behind the router's back: who reads the disk would see it.
    sqlx::query("UPDATE session_states SET state = '50'")
        .execute(&writer)
        .await
        .unwrap();
    assert_eq!(counters.before("a").await, 2);
    drop(counters);

    // Another router on the same file: a restart.
    let counters = Counters::on(store, RouterConfig::default()).await;
    assert_eq!(counters.before("a").await, 3);
}

#[tokio::test]
async fn of_too_many_sessions_the_one_used_longest_ago_begins_anew() {
    let mut config = RouterConfig::default();
    config.sessions.max_sessions = 2;
    let counters = Counters::on(Arc::new(MemorySessions::new()), config).await;
    for session in ["a", "b", "a", "c"] {
        counters.call(session).await.unwrap();
    }
    assert_eq!(counters.before("a").await, 2);
    assert_eq!(
        counters.before("b").await,
        0,
        "dropped, and not only on disk"
    );
    let known = counters.house.router.sessions().await.unwrap();
    assert_eq!((known.sessions, known.evicted), (2, 2));
}

#[tokio::test]
async fn an_expired_session_begins_anew() {
    let store = Arc::new(MemorySessions::new());
    let counters = Counters::on(store.clone(), RouterConfig::default()).await;
    let program = counters.house.router.get(&counters.program).await.unwrap();
    // Left in 1970, and not swept yet.
    let old = key(program.key.version, "a");
    store.put(&old, &saved("7", 0), 10).await.unwrap();
    assert_eq!(counters.before("a").await, 0);
    assert_eq!(counters.before("a").await, 1);
}

#[tokio::test]
async fn a_session_that_only_reads_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("dspex.db")).await;
    let counters = Counters::on(Arc::new(store), RouterConfig::default()).await;
    counters.house.stable.answer_with(|_| {
        Ok(Reply {
            state: Some(to_raw_value("same").unwrap().into()),
            ..FakePool::reply(&json!({}))
        })
    });
    counters.call("a").await.unwrap();
    sqlx::query("UPDATE session_states SET state = '0'")
        .execute(&writer)
        .await
        .unwrap();
    counters.call("a").await.unwrap();
    let on_disk: String = sqlx::query_scalar("SELECT state FROM session_states")
        .fetch_one(&writer)
        .await
        .unwrap();
    assert_eq!(on_disk, "0", "it was not written again");
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_the_answer_is_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = open(&folder.path().join("dspex.db")).await;
    let counters = Counters::on(Arc::new(store), RouterConfig::default()).await;
    assert_eq!(counters.before("a").await, 0);
    sqlx::query("DROP TABLE session_states")
        .execute(&writer)
        .await
        .unwrap();
    let failed = counters.call("a").await.unwrap_err();
    assert_eq!(failed.error.kind(), "sessions-failed");
    assert!(
        failed.to_string().contains("while keeping a state"),
        "{failed}"
    );
}

#[tokio::test]
async fn too_many_at_once_is_the_callers_and_answered_as_it_is() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(PoolError::TooMany {
        reason: "5 calls of session \"s\"; the limit is 5".to_owned(),
        retry_after: Duration::from_secs(1),
    });
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "too-many-calls");
    assert_eq!(house.stable.calls(), 0);
    assert_eq!(house.window(Lane::Candidate).errors_of(Blame::Caller), 1);
}
