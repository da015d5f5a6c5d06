//! The whole suite on pools without processes, in simulated time: two that are well, and candidates that
//! are broken in each way, of which every one must be caught by the check that is there for it.

mod configured;
mod endings;
mod pools;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use dspex_pool::testing::FakePool;
use dspex_pool::{Call, Pool as _, PoolError, SharedPool};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use self::pools::{Deaf, Spaced, answer, attribute, but, latency, well};
use super::{Extent, Factory, Finding, Load, Suite, ValidationReport, ValidationSettings};

fn factory(pool: &FakePool) -> Factory {
    let pool = pool.shared();
    Box::new(move || Box::pin(async move { Ok(pool) }))
}

fn settings() -> ValidationSettings {
    ValidationSettings {
        patience: Duration::from_secs(5),
        // The whole load is for real pools: here it is only more than the quick one.
        full: Load {
            users: 20,
            operations: 12,
            burst: 512,
            ..ValidationSettings::default().full
        },
        ..ValidationSettings::default()
    }
}

fn suite(stable: &FakePool, candidate: &FakePool) -> Suite {
    Suite {
        extent: Extent::Quick,
        settings: settings(),
        stable: ("v1".to_owned(), factory(stable)),
        candidate: ("v2".to_owned(), factory(candidate)),
        programs: Vec::new(),
        lms: Vec::new(),
        tracker: TaskTracker::new(),
    }
}

/// The app runs it in a task, so the future must be one that can go from thread to thread.
fn in_a_task<F: Future + Send>(run: F) -> F {
    run
}

async fn validated(candidate: &FakePool) -> ValidationReport {
    in_a_task(suite(&well("v1"), candidate).run(&|_| {})).await
}

fn failed(report: &ValidationReport) -> Vec<&str> {
    let findings = report.findings.iter();
    let failed: Vec<&str> = findings
        .filter(|finding| !finding.check.ok)
        .map(|finding| finding.check.name.as_str())
        .collect();
    assert_eq!(report.passed, failed.is_empty());
    failed
}

fn finding<'a>(report: &'a ValidationReport, name: &str) -> &'a Finding {
    let mut findings = report.findings.iter();
    findings
        .find(|finding| finding.check.name == name)
        .unwrap_or_else(|| panic!("no {name:?} in {report:#?}"))
}

#[tokio::test(start_paused = true)]
async fn two_pools_that_are_well_pass_and_nothing_is_left_of_them() {
    let (stable, candidate) = (well("v1"), well("v2"));
    for extent in [Extent::Quick, Extent::Full] {
        let (stable, candidate) = (well("v1"), well("v2"));
        let suite = Suite {
            extent,
            ..suite(&stable, &candidate)
        };
        let report = suite.run(&|_| {}).await;
        assert_eq!(failed(&report), Vec::<&str>::new(), "{report:#?}");
        assert!(stable.status().draining && candidate.status().draining);
        let load = report.performance.expect("it was run");
        let expected = settings().load(extent);
        let calls = expected.users * expected.operations * load.rounds;
        assert_eq!(load.candidate.calls, calls as u64);
        assert_eq!(load.candidate.errors, 0);
        assert_eq!(report.recoveries.len(), 4);
        for recoveries in &report.recoveries {
            assert_eq!(recoveries.candidate_ms.len(), expected.faults);
        }
        let crash = report.recoveries[0].candidate_ms[0].expect("recovered");
        assert!((40.0..60.0).contains(&crash), "{crash} ms");
    }
    assert!(!stable.status().draining && !candidate.status().draining);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_answer_is_caught() {
    let wrong = but("add", |_| Ok(FakePool::reply(&json!({"sum": 41}))));
    let report = validated(&wrong).await;
    let found = finding(&report, "calls are answered alike");
    assert!(!found.check.ok, "{found:?}");
    assert!(found.check.value.contains("/sum"), "{found:?}");
    assert!(
        failed(&report).contains(&"errors under load"),
        "{report:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn another_class_of_failure_is_caught() {
    let blames_itself = but("add", |call| match answer(call) {
        Err(PoolError::InvalidInput { message }) => Err(PoolError::Program {
            exception: "TypeError".to_owned(),
            message,
            traceback: None,
        }),
        other => other,
    });
    let report = validated(&blames_itself).await;
    assert_eq!(failed(&report), ["failures are alike"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_caught() {
    let forgets = but("Count", |call| {
        let without = Call {
            state: None,
            ..call.clone()
        };
        answer(&without)
    });
    let report = validated(&forgets).await;
    for name in [
        "sessions keep their state",
        "a session moves to the candidate and back",
        "loses nothing to a worker's crash",
    ] {
        assert!(!finding(&report, name).check.ok, "{name}: {report:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_lost_only_by_a_crash_is_caught() {
    // One worker's memory: the states are kept on the pool's side until a worker is lost.
    let crashed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&crashed);
    let candidate = but("Count", move |call| {
        let lost = seen.load(SeqCst)
            && call
                .session
                .as_deref()
                .is_some_and(|s| s.contains("goes-on"));
        let state = call.state.clone().filter(|_| !lost);
        answer(&Call {
            state,
            ..call.clone()
        })
    });
    let pool = candidate.clone().status_with(move |status| {
        if status.failures > 0 {
            crashed.store(true, SeqCst);
        }
    });
    let report = validated(&pool).await;
    assert!(finding(&report, "sessions keep their state").check.ok);
    let found = finding(&report, "loses nothing to a worker's crash");
    assert!(
        !found.check.ok && found.check.value.contains("turn"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slower_candidate_is_caught() {
    let slower = well("v2").latency_with(|call| latency(call) + Duration::from_millis(30));
    let report = validated(&slower).await;
    assert_eq!(
        failed(&report),
        [
            "mean latency",
            "median latency",
            "p99 latency",
            "throughput"
        ]
    );
    assert!(report.findings.iter().all(|finding| !finding.inconclusive));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_is_slow_now_and_then_is_caught_by_its_p99_alone() {
    let calls = AtomicU64::new(0);
    let sometimes = well("v2").latency_with(move |call| {
        let late = calls.fetch_add(1, SeqCst).is_multiple_of(50);
        latency(call) + Duration::from_millis(if late { 60 } else { 0 })
    });
    let report = validated(&sometimes).await;
    assert_eq!(failed(&report), ["p99 latency"], "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_stays_undecided_passes_no_validation_and_says_so() {
    // One round in two is far too slow in one case, and one in three in the other: neither worse nor no
    // worse, and by the median of the second it would be none.
    for (extent, slow_of) in [(Extent::Full, 2), (Extent::Quick, 2), (Extent::Quick, 3)] {
        let load = settings().load(extent);
        // Echoes are every third call.
        let a_round = (load.users * load.operations.div_ceil(3)) as u64;
        let echoes = AtomicU64::new(0);
        let candidate = well("v2").latency_with(move |call| {
            // Only the load's echoes say whose they are.
            let of_load = call
                .inputs
                .get("value")
                .is_some_and(|value| value["user"].is_u64());
            if !of_load {
                return latency(call);
            }
            let round = echoes.fetch_add(1, SeqCst) / a_round;
            let late = if round.is_multiple_of(slow_of) {
                400
            } else {
                0
            };
            latency(call) + Duration::from_millis(late)
        });
        let stable = well("v1");
        let suite = Suite {
            extent,
            ..suite(&stable, &candidate)
        };
        let report = suite.run(&|_| {}).await;
        let found = finding(&report, "mean latency");
        assert!(found.inconclusive && !found.check.ok, "{found:?}");
        assert!(
            found.check.value.contains("undecided after 32 rounds"),
            "{found:?}"
        );
        let hint = found.check.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("run it again"), "{found:?}");
        assert!(!report.passed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_never_recovers_is_caught_and_not_waited_for_again() {
    let gone = well("v2").recovers_within(None);
    let began = tokio::time::Instant::now();
    let report = validated(&gone).await;
    let found = finding(&report, "recovers from a worker's crash");
    assert!(
        !found.check.ok && found.check.value.contains("1 of 2 workers ready"),
        "{found:?}"
    );
    let wire = finding(&report, "recovers from a broken wire");
    assert!(wire.check.value.contains("not tried"), "{wire:?}");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert!(
        finding(&report, "mean latency").check.ok,
        "what came before stands"
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_recovers_too_slowly_is_caught() {
    let slow = well("v2").recovers_within(Some(Duration::from_secs(1)));
    let report = validated(&slow).await;
    assert_eq!(
        failed(&report),
        [
            "recovers from a worker's crash",
            "recovers from a broken wire"
        ]
    );
    // Where stable is no faster, it is no worse.
    let stable = well("v1").recovers_within(Some(Duration::from_secs(1)));
    let slow = well("v2").recovers_within(Some(Duration::from_millis(1_300)));
    let report = suite(&stable, &slow).run(&|_| {}).await;
    assert_eq!(failed(&report), Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_pool_leaves_between_two_starts_is_not_taken_for_its_recovery() {
    let spaced = Arc::new(Spaced::by(well("v2"), Duration::from_secs(1)));
    let candidate: Factory = Box::new(move || Box::pin(async move { Ok(spaced as SharedPool) }));
    let suite = Suite {
        candidate: ("v2".to_owned(), candidate),
        ..suite(&well("v1"), &well("v2"))
    };
    let report = suite.run(&|_| {}).await;
    assert_eq!(failed(&report), Vec::<&str>::new());
    let crashes = &report.recoveries[0].candidate_ms;
    assert!(
        crashes.iter().all(|ms| ms.is_some_and(|ms| ms < 60.0)),
        "{crashes:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_crashes_for_good_is_caught() {
    let crashed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&crashed);
    let candidate = well("v2")
        .answer_with(move |call| {
            if seen.load(SeqCst) {
                return Err(PoolError::Unavailable {
                    reason: "python3 is gone".to_owned(),
                });
            }
            answer(call)
        })
        .status_with(move |status| {
            if status.failures > 0 {
                crashed.store(true, SeqCst);
            }
        });
    let report = validated(&candidate).await;
    let found = finding(&report, "recovers from a worker's crash");
    assert!(
        !found.check.ok && found.check.value.contains("python3 is gone"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_deadline_that_is_told_late_or_never_is_caught() {
    for (late, words) in [(1, "told after"), (3_600, "never told")] {
        let deaf: SharedPool = Arc::new(Deaf(well("v2"), Duration::from_secs(late)));
        let mut suite = suite(&well("v1"), &well("v2"));
        suite.candidate.1 = Box::new(move || Box::pin(async move { Ok(deaf) }));
        let report = suite.run(&|_| {}).await;
        let found = finding(&report, "loses nothing to a call past its deadline");
        assert!(
            !found.check.ok && found.check.value.contains(words),
            "{found:?}"
        );
    }
    let answers_late = well("v2").latency_with(|call| match attribute(&call.program) {
        "sleep" => Duration::from_millis(90),
        _ => latency(call),
    });
    let report = validated(&answers_late).await;
    let found = finding(&report, "loses nothing to a call past its deadline");
    assert!(
        !found.check.ok && found.check.value.contains("was answered"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_breaks_under_too_many_calls_is_caught() {
    let breaks = but("sleep", |call| {
        if call.inputs.get("seconds").and_then(Value::as_f64) == Some(0.5) {
            return answer(call);
        }
        Err(PoolError::Crashed {
            worker: "v2-0.0".to_owned(),
            reason: "out of memory".to_owned(),
        })
    });
    let report = validated(&breaks).await;
    let found = finding(&report, "loses nothing to more calls than it can take");
    assert!(
        !found.check.ok && found.check.value.contains("not an orderly refusal"),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_tried_is_not_passed() {
    let no_probe = well("v2").check_with(|_| {
        Err(PoolError::Rejected {
            message: "this script runs no callables".to_owned(),
        })
    });
    let report = validated(&no_probe).await;
    assert_eq!(failed(&report), ["programs are built, and refused, alike"]);
    assert_eq!(report.performance, None);
    let lenient = well("v2").check_with(|_| Ok(()));
    let report = validated(&lenient).await;
    assert!(
        report
            .findings
            .last()
            .expect("findings")
            .check
            .value
            .contains("not allowed"),
        "{report:#?}"
    );
}
