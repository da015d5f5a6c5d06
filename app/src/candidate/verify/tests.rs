//! A candidate that does not work is seen, each fault by its own check.

use dspex_flags::{Flags, MemoryStore};
use dspex_pool::Pool as _;
use dspex_pool::testing::FakePool;
use dspex_router::{MemoryCatalog, MemorySessions, RouterConfig, RouterParts};
use dspex_telemetry::Config;
use tokio_util::task::TaskTracker;

use super::*;

async fn verify(stable: &FakePool, candidate: &FakePool) -> Vec<Check> {
    verify_with(stable, candidate, true).await
}

async fn verify_with(stable: &FakePool, candidate: &FakePool, recording: bool) -> Vec<Check> {
    let prometheus = Prometheus::new().unwrap();
    let telemetry = Telemetry::with_prometheus(Config::default(), &prometheus);
    let flags = Flags::open(
        Arc::new(MemoryStore::new()),
        dspex_flags::dspex::declarations(),
    );
    let router = Router::new(RouterParts {
        stable: stable.shared(),
        flags: flags.await.unwrap(),
        telemetry: Arc::clone(&telemetry),
        catalog: Arc::new(MemoryCatalog::new()),
        sessions: Arc::new(MemorySessions::new()),
        tracker: TaskTracker::new(),
        config: RouterConfig::default(),
    })
    .unwrap();
    router.set_candidate(Some(candidate.shared()));
    telemetry.set_enabled(recording);
    let verification = Verification {
        candidate: candidate.shared(),
        router: &router,
        telemetry: &telemetry,
        prometheus: &prometheus,
        speed: Speed {
            ratio: 2.0,
            floor: Duration::from_millis(50),
        },
    };
    verification.run().await
}

/// The checks that failed, by their names.
fn failed(checks: &[Check]) -> Vec<&str> {
    let failed = checks.iter().filter(|check| !check.ok);
    failed.map(|check| check.name.as_str()).collect()
}

const ANSWERS: &str = "each worker of the candidate answers a call";
const FAST: &str = "the candidate is about as fast as stable";
const SEEN: &str = "a call on the candidate is seen in the metrics";
const RECOVERS: &str = "the candidate recovers from a crash of a worker";

fn pools() -> (FakePool, FakePool) {
    (FakePool::new("v1"), FakePool::new("v2"))
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_works_passes_and_is_left_without_the_probe() {
    let (stable, candidate) = pools();
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [""; 0], "{checks:#?}");
    assert_eq!(checks.len(), 4);
    assert!(checks[3].value.contains("was killed; all were back"));
    assert_eq!(candidate.forgotten().len(), 1);
    assert_eq!(candidate.status().failures, 1, "the fault is real");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_does_not_come_back_is_seen() {
    let (stable, candidate) = pools();
    candidate.recovers_within(None);
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [RECOVERS]);
    assert!(checks[3].value.contains("1 of 2 workers"), "{checks:#?}");
    let (stable, candidate) = pools();
    candidate.recovers_within(Some(Duration::from_secs(2)));
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [""; 0], "{checks:#?}");
    assert!(
        checks[3].value.contains("after 2"),
        "it is measured: {checks:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn workers_that_answer_wrongly_or_not_are_seen() {
    let (stable, candidate) = pools();
    candidate.answer(&serde_json::json!({"value": "something else"}));
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [ANSWERS, RECOVERS], "{checks:#?}");
    candidate.fail_with(PoolError::Hung {
        worker: "v2-0".to_owned(),
        reason: "no pong".to_owned(),
    });
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [ANSWERS, FAST, RECOVERS], "{checks:#?}");
    assert!(checks[0].value.contains("0 of 2"), "{checks:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_slower_is_seen_and_noise_is_not() {
    let (stable, candidate) = pools();
    stable.latency(Duration::from_millis(50));
    candidate.latency(Duration::from_millis(95));
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [""; 0], "{checks:#?}");
    candidate.latency(Duration::from_millis(105));
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [FAST], "{checks:#?}");
    assert!(checks[1].value.contains("105.00 ms"), "{checks:#?}");
}

#[test]
fn how_slow_a_candidate_may_be_is_what_the_plans_rule_says() {
    let mut thresholds = Thresholds::default();
    thresholds.median_ratio.limit = 4.0;
    thresholds.latency_floor = Duration::from_millis(1);
    let millis = Duration::from_millis;
    let speed = Speed::of(&thresholds);
    assert_eq!(speed.most(millis(100)), millis(400));
    // No floor is below what a median of a few calls may be off.
    assert_eq!(speed.most(millis(2)), millis(22));
    thresholds.latency_floor = millis(500);
    assert_eq!(Speed::of(&thresholds).most(millis(100)), millis(600));
}

#[tokio::test(start_paused = true)]
async fn stable_is_not_asked_while_its_callers_want_all_of_it() {
    let (stable, candidate) = (FakePool::sized("v1", 1, 1), FakePool::new("v2"));
    stable.hold();
    let mut long = call("a caller's");
    long.deadline += Duration::from_secs(3600);
    let busy = stable.shared();
    let tracker = TaskTracker::new();
    tracker.spawn(async move { busy.execute(long).await });
    stable.wait_for_calls(1).await;
    let checks = verify(&stable, &candidate).await;
    assert_eq!(failed(&checks), [""; 0], "{checks:#?}");
    assert!(checks[1].limit.contains("could not be measured"));
    assert_eq!(stable.calls(), 1, "nobody but the caller was served");
}

#[tokio::test(start_paused = true)]
async fn windows_that_are_switched_off_are_seen() {
    let (stable, candidate) = pools();
    let checks = verify_with(&stable, &candidate, false).await;
    assert_eq!(failed(&checks), [SEEN], "{checks:#?}");
}
