//! No caller pays for the migration: what stable answers in the candidate's place, and who is
//! blamed for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use dspex_pool::testing::FakePool;
use dspex_pool::{Call, Drained, Fault, Pool, PoolError, PoolStatus, Program, ProgramKey, Reply};
use dspex_router::{Catalog, MemoryCatalog, RouterConfig, RouterError};
use dspex_telemetry::{Blame, Lane};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::support::{House, crashed, definition, hung, raised, request};

fn every_error() -> Vec<PoolError> {
    let text = || "why".to_owned();
    vec![
        PoolError::InvalidInput { message: text() },
        PoolError::Rejected { message: text() },
        PoolError::Provider {
            message: text(),
            status: Some(429),
        },
        raised(),
        PoolError::ProgramTimeout {
            after: Duration::from_secs(60),
        },
        crashed(),
        hung(),
        PoolError::Protocol {
            worker: text(),
            reason: text(),
        },
        PoolError::Exhausted {
            reason: text(),
            retry_after: Duration::from_secs(1),
        },
        PoolError::Unavailable { reason: text() },
        PoolError::Draining,
    ]
}

#[tokio::test]
async fn each_fault_goes_to_whom_it_belongs() {
    for repeatable in [true, false] {
        for error in every_error() {
            let house = House::all_on_candidate().await;
            let program = house.program("p", repeatable).await;
            house.candidate.fail_with(error.clone());
            let ended = house.call(&program, "s").await;
            let told = format!("{error:?}, repeatable: {repeatable}, ended {ended:?}");

            let candidates_fault = error.fault() == Fault::Pool;
            let answered = match &error {
                PoolError::Rejected { .. } => true,
                // A timeout before the share was used up is the scripted fake's own word.
                PoolError::ProgramTimeout { .. } => repeatable,
                _ => candidates_fault && (repeatable || !error.may_have_started()),
            };
            if answered {
                let answer = ended.expect(&told);
                assert_eq!(answer.lane, Lane::Stable, "{told}");
                assert!(answer.failed_over, "{told}");
                assert_eq!(house.recorded(Lane::Stable, "ok"), 1, "{told}");
            } else {
                let failed = ended.expect_err(&told);
                assert_eq!(failed.lane, Some(Lane::Candidate), "{told}");
                assert!(!failed.failed_over, "{told}");
                assert_eq!(house.stable.calls(), 0, "{told}");
            }
            // In either case it is recorded once, against the candidate.
            let window = house.window(Lane::Candidate);
            assert_eq!(window.calls, 1, "{told}");
            assert_eq!(house.recorded(Lane::Candidate, error.kind()), 1, "{told}");
            let against_pool = window.errors_of(Blame::Pool);
            assert_eq!(against_pool, u64::from(candidates_fault), "{told}");
        }
    }
}

#[tokio::test]
async fn where_stable_fails_too_the_call_fails_with_stables_error() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.fail_with(crashed());
    house.stable.fail_with(raised());
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.lane, Some(Lane::Stable));
    assert!(failed.failed_over);
    assert_eq!(failed.error.kind(), "program-failed");
    assert_eq!(house.stable.calls(), 1, "stable is asked once");
    assert_eq!(house.candidate.calls(), 1);
}

#[tokio::test]
async fn lost_workers_of_stable_fail_a_call_only_where_the_third_is_lost_too() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.stable.fail_with(crashed());
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.lane, Some(Lane::Stable));
    assert_eq!(house.stable.calls(), 3);
    assert_eq!(
        house.candidate.calls(),
        0,
        "traffic moves by the flag alone"
    );
    assert_eq!(house.window(Lane::Stable).errors_of(Blame::Pool), 3);
}

#[tokio::test]
async fn a_call_that_may_be_repeated_outlives_a_lost_worker_of_stable() {
    let house = House::new().await;
    let lost = std::sync::atomic::AtomicBool::new(false);
    house.stable.answer_with(move |_| {
        if lost.swap(true, std::sync::atomic::Ordering::Relaxed) {
            Ok(FakePool::reply(&serde_json::json!({"a": 1})))
        } else {
            Err(crashed())
        }
    });
    let repeatable = house.program("p", true).await;
    let answer = house.call(&repeatable, "s").await.unwrap();
    assert_eq!((answer.lane, house.stable.calls()), (Lane::Stable, 2));
}

#[tokio::test]
async fn a_call_that_must_not_be_repeated_is_sent_to_stable_once() {
    let house = House::new().await;
    let program = house.program("p", false).await;
    house.stable.fail_with(crashed());
    house.call(&program, "s").await.unwrap_err();
    assert_eq!(house.stable.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_retry_budget_does_not_hold_fails_with_its_first_error() {
    let mut config = RouterConfig::default();
    config.retry_budget.share = 0.0;
    config.retry_budget.minimum_per_second = 0.2;
    let house = House::with(Arc::new(MemoryCatalog::new()), config).await;
    house.percent("100").await;
    let program = house.program("p", true).await;
    // A worker of its own each time, and none in a row: the circuit stays closed.
    let lost = AtomicU64::new(0);
    house.candidate.answer_with(move |_| {
        let call = lost.fetch_add(1, SeqCst);
        if call.is_multiple_of(3) {
            return Err(PoolError::Crashed {
                worker: format!("v2-{call}"),
                reason: "exit code 17".to_owned(),
            });
        }
        Ok(FakePool::reply(&serde_json::json!({"a": 1})))
    });
    let mut failed = 0;
    for _ in 0..12 {
        match house.call(&program, "s").await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.error.kind(), "worker-crashed");
                assert_eq!(error.lane, Some(Lane::Candidate));
                assert!(!error.failed_over);
                failed += 1;
            }
        }
    }
    assert_eq!(
        (failed, house.stable.calls()),
        (2, 2),
        "0.2 a second, over ten"
    );
    let rescue = house.router.health().rescue;
    assert_eq!(rescue.failover.recovered, 2);
    assert_eq!(rescue.failover.abandoned, 2);
    assert_eq!((rescue.budget.drawn, rescue.budget.left), (2, 0));
    assert_eq!(rescue.budget.calls, 12);
}

#[tokio::test]
async fn a_program_that_takes_every_worker_down_is_not_tried_twice_for_ever() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    house.stable.fail_with(crashed());
    for _ in 0..20 {
        house.call(&program, "s").await.unwrap_err();
    }
    let calls = house.stable.calls();
    assert!(
        calls <= 23,
        "{calls} attempts for 20 calls: the open circuit ends the retries"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_candidate_leaves_stable_its_part_of_the_time() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.hold();
    house.candidate.late_with(hung());
    house.stable.latency(Duration::from_secs(29));
    let begun = Instant::now();
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!((answer.lane, answer.failed_over), (Lane::Stable, true));
    assert_eq!(
        begun.elapsed().as_secs(),
        59,
        "30 s for the candidate, 29 s on stable"
    );
    assert_eq!(house.window(Lane::Candidate).errors_of(Blame::Pool), 1);
    // Stable is not blamed for the time that the candidate took.
    let slowest = house.window(Lane::Stable).total.quantile(1.0).unwrap();
    assert!(slowest < Duration::from_secs(31), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_program_of_the_candidate_is_answered_by_stable_time_and_again() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    house.candidate.hold();
    for round in 1..=8 {
        let answer = house.call(&program, "s").await.unwrap();
        assert_eq!(answer.lane, Lane::Stable, "round {round}");
        assert_eq!(house.recorded(Lane::Candidate, "program-timeout"), round);
    }
    let window = house.window(Lane::Candidate);
    assert_eq!(window.errors_of(Blame::Pool), 0, "its worker was well");
    assert_eq!(window.errors_of(Blame::Program), 8);
    assert_eq!(house.circuit(Lane::Candidate), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_slow_on_both_lanes_gets_all_its_time() {
    let house = House::new().await;
    let program = house.program("p", true).await;
    let slow = Duration::from_secs(40);
    house.stable.latency(slow);
    house.candidate.latency(slow);
    house.call(&program, "s").await.unwrap();
    house.percent("100").await;
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!((answer.lane, answer.failed_over), (Lane::Candidate, false));
    assert_eq!(house.window(Lane::Candidate).failed(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_program_that_stable_never_showed_costs_one_call_at_most() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", true).await;
    let slow = Duration::from_secs(40);
    house.stable.latency(slow);
    house.candidate.latency(slow);
    let failed = house.call(&program, "s").await.unwrap_err();
    match failed.error {
        // All of the caller's time, not what was left of it for stable.
        RouterError::Pool(PoolError::ProgramTimeout { after }) => assert_eq!(after.as_secs(), 60),
        other => panic!("{other:?}"),
    }
    for lane in [Lane::Stable, Lane::Candidate] {
        assert_eq!(
            house.recorded(lane, "program-timeout"),
            1,
            "both lanes alike"
        );
    }
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!(answer.lane, Lane::Candidate);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_must_not_be_repeated_gives_the_candidate_all_its_time() {
    let house = House::all_on_candidate().await;
    let program = house.program("p", false).await;
    house.candidate.latency(Duration::from_secs(59));
    let answer = house.call(&program, "s").await.unwrap();
    assert_eq!(answer.lane, Lane::Candidate);
    house.candidate.latency(Duration::from_secs(61));
    let failed = house.call(&program, "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "program-timeout");
    assert_eq!(house.stable.calls(), 0);
}

/// A pool that breaks the contract: it never answers, whatever the deadline.
struct Deaf(FakePool);

#[async_trait]
impl Pool for Deaf {
    async fn execute(&self, _: Call) -> Result<Reply, PoolError> {
        std::future::pending().await
    }

    async fn check(&self, _: &Program) -> Result<(), PoolError> {
        std::future::pending().await
    }

    async fn forget(&self, _: &ProgramKey) {}

    fn status(&self) -> PoolStatus {
        self.0.status()
    }

    async fn drain(&self, limit: Duration) -> Drained {
        self.0.drain(limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_ignores_deadlines_does_not_hold_callers() {
    let house = House::all_on_candidate().await;
    house
        .router
        .set_candidate(Some(Arc::new(Deaf(house.candidate.clone()))));
    let begun = Instant::now();
    let program = house.program("p", true).await;
    assert!(
        begun.elapsed() <= Duration::from_secs(10),
        "creation waits for it shortly"
    );
    for timeout in [Duration::from_millis(40), Duration::from_secs(60)] {
        let begun = Instant::now();
        let mut request = request(&program, "s");
        request.timeout = Some(timeout);
        let answer = house.router.execute(request).await.unwrap();
        assert_eq!(answer.lane, Lane::Stable);
        assert!(
            begun.elapsed() < timeout,
            "{:?} of {timeout:?}",
            begun.elapsed()
        );
    }
    assert_eq!(house.recorded(Lane::Candidate, "worker-hung"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stable_pool_that_ignores_deadlines_holds_callers_hardly_longer() {
    let catalog = MemoryCatalog::new();
    let program = Program {
        key: ProgramKey {
            id: "p".parse().unwrap(),
            version: catalog.reserve().await.unwrap(),
        },
        definition: definition(),
        repeatable: true,
        stateful: false,
        side_effects: true,
    };
    catalog
        .keep(&program, None, jiff::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    let deaf = Arc::new(Deaf(FakePool::new("v1")));
    let house = House::on(deaf, Arc::new(catalog), RouterConfig::default()).await;
    let begun = Instant::now();
    let failed = house.call(&program.key.id, "s").await.unwrap_err();
    assert_eq!(failed.error.kind(), "worker-hung");
    assert!(
        begun.elapsed() < Duration::from_secs(61),
        "{:?}",
        begun.elapsed()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the candidate's pool does, callers of repeatable programs never notice.
    #[test]
    fn no_caller_pays(faults in proptest::collection::vec(0_usize..8, 1..40)) {
        let pool_faults: Vec<_> = every_error()
            .into_iter()
            .filter(|error| error.fault() == Fault::Pool)
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::all_on_candidate().await;
            let program = house.program("p", true).await;
            let turn = Arc::new(AtomicU64::new(0));
            let script = faults.clone();
            let taken = turn.clone();
            house.candidate.answer_with(move |call| {
                let turn = usize::try_from(taken.fetch_add(1, SeqCst)).unwrap();
                match pool_faults.get(script[turn % script.len()]) {
                    Some(fault) => Err(fault.clone()),
                    None => Ok(FakePool::reply(&serde_json::Value::Object((*call.inputs).clone()))),
                }
            });
            for number in 0..faults.len() {
                let answer = house.call(&program, &format!("s{number}")).await.unwrap();
                assert_eq!(answer.outputs, crate::support::inputs());
            }
            // Every attempt was recorded once, and nothing else.
            let candidate = house.window(Lane::Candidate);
            let refused = house.recorded(Lane::Candidate, "circuit-open");
            assert_eq!(candidate.calls, turn.load(SeqCst) + refused);
            let answered_there = candidate.calls - candidate.failed();
            assert_eq!(house.window(Lane::Stable).calls + answered_there, faults.len() as u64);
        });
    }
}
