//! Rest, waking and their races, with fakes.

use std::sync::atomic::{AtomicU32, Ordering};

use dspex_pool::testing::FakePool;
use dspex_pool::{Definition, ProgramId};
use serde_json::Map;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const IDLE: Idle = Idle {
    after: Duration::from_secs(3600),
    drain: LONG,
};

/// Starts fakes; the first `broken` starts fail, the one with number `panics` panics.
#[derive(Default)]
struct Starts {
    broken: u32,
    panics: Option<u32>,
    takes: Duration,
    begun: AtomicU32,
}

#[async_trait]
impl PoolSource for Starts {
    fn find(&self, name: &str, _: Option<u32>) -> Result<PoolVersion, String> {
        Ok(PoolVersion::new(name, 1))
    }

    async fn interpreter(&self, _: &PoolVersion) -> Result<String, String> {
        Ok("a fake".to_owned())
    }

    async fn start(&self, pool: &PoolVersion) -> Result<SharedPool, PoolError> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        assert_ne!(Some(number), self.panics, "the panic that the test wants");
        if number < self.broken {
            let reason = "no interpreter".to_owned();
            return Err(PoolError::Unavailable { reason });
        }
        Ok(FakePool::new(&pool.label()).shared())
    }
}

fn pool(starts: Starts) -> (Arc<RestingPool>, Arc<Starts>) {
    let starts = Arc::new(starts);
    let source = Arc::clone(&starts) as _;
    let running = FakePool::new("v1").shared();
    let version = PoolVersion::new("v1", 1);
    (
        RestingPool::up(version, running, source, TaskTracker::new()),
        starts,
    )
}

fn call(within: Duration) -> Call {
    let id: ProgramId = "p".parse().unwrap();
    Call {
        request_id: "r".into(),
        session: None,
        caller: None,
        program: Arc::new(Program {
            key: ProgramKey { id, version: 1 },
            definition: Definition::Callable {
                target: "m:f".parse().unwrap(),
            },
            repeatable: false,
            stateful: false,
            side_effects: false,
        }),
        inputs: Arc::new(Map::new()),
        state: None,
        chunks: None,
        deadline: Instant::now() + within,
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_wakes_the_pool_once_and_waits_for_it() {
    let (pool, starts) = pool(Starts {
        takes: Duration::from_secs(2),
        ..Starts::default()
    });
    pool.execute(call(LONG)).await.unwrap();
    assert_eq!(pool.rest(IDLE).await.abandoned, 0);
    let status = pool.status();
    assert!(status.resting && !status.draining && pool.rests());
    assert_eq!((status.ready, status.name.as_str()), (0, "v1"));
    let began = Instant::now();
    let calls = (0..20).map(|_| pool.execute(call(LONG)));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(starts.begun.load(Ordering::SeqCst), 1);
    assert!(!pool.rests() && pool.status().ready > 0);
    // It can rest again.
    pool.rest(IDLE).await;
    assert!(pool.rests());
}

#[tokio::test(start_paused = true)]
async fn one_stray_call_wakes_the_pool_for_a_while_and_not_for_good() {
    let (pool, starts) = pool(Starts::default());
    pool.rest(IDLE).await;
    pool.execute(call(LONG)).await.unwrap();
    tokio::time::sleep(IDLE.after / 2).await;
    pool.execute(call(LONG)).await.unwrap();
    tokio::time::sleep(IDLE.after * 3 / 4).await;
    assert!(!pool.rests(), "it was called in between");
    tokio::time::sleep(IDLE.after / 2).await;
    assert!(pool.rests());
    pool.execute(call(LONG)).await.unwrap();
    assert_eq!(starts.begun.load(Ordering::SeqCst), 2);
    tokio::time::sleep(IDLE.after * 2).await;
    assert!(pool.rests(), "and again");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_to_serve_stays_awake_though_nobody_calls() {
    for woken_before in [false, true] {
        let (pool, _) = pool(Starts::default());
        pool.rest(IDLE).await;
        if woken_before {
            pool.execute(call(LONG)).await.unwrap();
        }
        pool.wake();
        tokio::time::sleep(IDLE.after * 3).await;
        assert!(!pool.rests(), "{woken_before}");
        pool.execute(call(LONG)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_fails_is_told_and_tried_again_while_a_call_waits() {
    let (pool, starts) = pool(Starts {
        broken: 2,
        ..Starts::default()
    });
    pool.rest(IDLE).await;
    let began = Instant::now();
    let short = pool.execute(call(Duration::from_millis(500))).await;
    let said = short.unwrap_err().to_string();
    assert!(
        said.contains("no interpreter") && said.contains("v1@1"),
        "{said}"
    );
    for told in ["rest", TROUBLE] {
        let told = pool.status().details[told].to_string();
        assert!(told.contains("no interpreter"), "{told}");
    }
    pool.execute(call(LONG)).await.unwrap();
    assert_eq!(starts.begun.load(Ordering::SeqCst), 3);
    assert!(began.elapsed() >= 2 * AGAIN, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_breaks_off_is_one_that_failed() {
    let (pool, _) = pool(Starts {
        panics: Some(0),
        ..Starts::default()
    });
    pool.rest(IDLE).await;
    pool.execute(call(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_drained_is_not_woken_also_not_by_a_start_under_way() {
    let (pool, starts) = pool(Starts {
        takes: Duration::from_secs(2),
        ..Starts::default()
    });
    pool.rest(IDLE).await;
    pool.wake();
    tokio::task::yield_now().await;
    assert_eq!(pool.drain(LONG).await, NOTHING);
    let refused = pool.execute(call(LONG)).await.unwrap_err();
    assert!(matches!(refused, PoolError::Draining), "{refused}");
    tokio::time::sleep(LONG).await;
    assert_eq!(starts.begun.load(Ordering::SeqCst), 1);
    assert!(pool.status().draining);
    let (up, _) = self::pool(Starts::default());
    up.drain(LONG).await;
    assert_eq!(up.rest(IDLE).await, NOTHING);
    assert!(up.execute(call(LONG)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_the_pool_goes_to_rest_again_and_again() {
    let (pool, starts) = pool(Starts::default());
    let (stop, stopped) = watch::channel(false);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (pool, stopped) = (Arc::clone(&pool), stopped.clone());
        callers.spawn(async move {
            let mut answered = 0_u32;
            // One that was kept waiting all the while makes up for it.
            while answered <= 50 || !*stopped.borrow() {
                pool.execute(call(LONG)).await.unwrap();
                answered += 1;
                tokio::task::yield_now().await;
            }
            answered
        });
    }
    for round in 0..50 {
        assert_eq!(pool.rest(IDLE).await.abandoned, 0, "round {round}");
        // Until a caller has woken it.
        let woken = async {
            while pool.rests() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = woken => {}
            // None ends by itself before the end.
            died = callers.join_next() => panic!("round {round}: a caller failed: {died:?}"),
            () = tokio::time::sleep(LONG) => panic!("round {round}: nobody has woken it"),
        }
    }
    stop.send_replace(true);
    let ended = timeout(LONG, callers.join_all()).await;
    for answered in ended.expect("a caller is still waiting") {
        assert!(answered > 50, "there was traffic");
    }
    assert!(starts.begun.load(Ordering::SeqCst) >= 50, "it was woken");
}
