//! What windows hold, and what becomes of every call.

use dspex_pool::PoolStatus;
use dspex_telemetry::Latency;
use std::time::Duration;

use super::*;
use crate::settings::Settings;

fn plan() -> Plan {
    Settings::default().plan("v1", "v2", None).expect("valid")
}

fn lane(calls: u64, seconds: f64) -> LaneWindow {
    let took: Latency = (0..calls).map(|_| Duration::from_millis(5)).collect();
    let program = ProgramWindow {
        calls,
        errors: 0,
        faults: 0,
        total: took.clone(),
        overhead: took.clone(),
    };
    let mut lane = LaneWindow {
        calls,
        total: took.clone(),
        overhead: took,
        seconds,
        ..LaneWindow::default()
    };
    if calls > 0 {
        lane.programs.insert("qa".into(), program);
    }
    lane
}

fn sample(stable: u64, candidate: u64, seconds: f64) -> Sample {
    Sample {
        lanes: [lane(stable, seconds), lane(candidate, seconds)],
        percent: Percent::from_basis_points(500).expect("a share"),
        recorded: true,
        counts: true,
        ..Sample::default()
    }
}

fn add(windows: &mut Windows, sample: &Sample) -> Evidence {
    windows.add(&plan(), &Ledger::default(), 1, sample).evidence
}

#[test]
fn a_window_reaches_as_far_back_as_it_needs_samples_and_no_farther() {
    let mut windows = Windows::default();
    // One call in five looks: 2.4 in the shortest window, 24 in the longest.
    for look in 0..200 {
        let few = u64::from(look % 5 == 0);
        let seen = add(&mut windows, &sample(few, few, 5.0));
        assert!(
            seen.candidate.seconds <= 600.5,
            "{}",
            seen.candidate.seconds
        );
    }
    let seen = add(&mut windows, &sample(0, 0, 5.0));
    assert!(
        (20..=25).contains(&seen.candidate.calls),
        "{}",
        seen.candidate.calls
    );
    let mut busy = seen;
    for _ in 0..12 {
        busy = add(&mut windows, &sample(10, 10, 5.0));
    }
    assert_eq!((busy.candidate.calls, busy.candidate.seconds), (120, 60.0));
    assert!(
        busy.recent["qa"][1].calls > 120,
        "and the recent calls reach farther"
    );
    assert_eq!(busy.stage["qa"][0].calls, 40 + 120);
    assert!(windows.pieces.len() <= 12 + 11, "{}", windows.pieces.len());
}

#[test]
fn looks_that_come_in_between_are_no_windows_of_their_own() {
    let mut windows = Windows::default();
    for _ in 0..500 {
        add(&mut windows, &sample(1, 1, 0.05));
    }
    assert!(windows.pieces.len() <= 6, "{}", windows.pieces.len());
    let seen = add(&mut windows, &sample(0, 0, 0.05));
    assert_eq!(seen.candidate.calls, 500);
}

#[test]
fn a_look_that_is_longer_than_a_window_is_seen_whole() {
    let seen = add(&mut Windows::default(), &sample(700, 300, 300.0));
    assert_eq!((seen.stable.calls, seen.candidate.calls), (700, 300));
}

#[test]
fn a_call_waits_for_the_other_lane_and_is_compared_once() {
    let mut windows = Windows::default();
    let mut compared = |stable, candidate, seconds| {
        let sample = sample(stable, candidate, seconds);
        windows.compare(&plan(), &sample, seconds).len()
    };
    assert_eq!(
        compared(30, 0, 5.0),
        0,
        "one lane alone is compared with nothing"
    );
    assert_eq!(compared(0, 1, 5.0), 1);
    assert_eq!(compared(0, 1, 5.0), 0, "those before are used up");
    assert_eq!(compared(8, 0, 5.0), 0, "too few to be worth while");
    assert_eq!(compared(0, 1, 5.0), 1);
    assert_eq!(compared(0, 50, 5.0), 0);
    assert_eq!(
        compared(50, 0, 700.0),
        0,
        "what waited too long is of another time"
    );
}

#[test]
fn calls_that_belong_to_no_stage_are_compared_with_nothing_and_prove_nothing() {
    let mut moving = sample(500, 500, 5.0);
    moving.counts = false;
    moving.lanes[1].errors.insert(Blame::Pool, 500);
    let mut windows = Windows::default();
    let judged = windows.add(&plan(), &Ledger::default(), 1, &moving);
    assert!(judged.change.is_empty() && judged.evidence.stage.is_empty());
    moving.counts = true;
    let judged = windows.add(&plan(), &Ledger::default(), 1, &moving);
    assert!(judged.evidence.ledger.pool_faults(0.01));
}

#[test]
fn workers_that_failed_before_are_not_counted_and_a_new_pool_counts_from_nothing() {
    let mut windows = Windows::default();
    let mut failed = |failures, seconds| {
        let mut sample = sample(0, 0, seconds);
        sample.candidate_pool = Some(PoolStatus {
            failures,
            ..PoolStatus::default()
        });
        add(&mut windows, &sample).worker_failures
    };
    assert_eq!(failed(7, 5.0), 0);
    assert_eq!(failed(9, 5.0), 2);
    assert_eq!(failed(1, 5.0), 1);
    assert_eq!(failed(1, 601.0), 0, "an hour ago");
}

#[test]
fn time_of_workers_is_told_with_calls_at_a_failure_and_once_many_windows_are_full() {
    let mut windows = Windows::default();
    let mut told = |failures, calls, seconds| {
        let mut sample = sample(0, calls, seconds);
        sample.candidate_pool = Some(PoolStatus {
            size: 4,
            failures,
            ..PoolStatus::default()
        });
        let told = windows.workers(&plan(), &sample, seconds);
        windows.count_failures(failures, 600.0);
        told.map(|(ran, failed)| ((ran * 60.0).round(), failed))
    };
    assert_eq!(told(3, 9, 5.0), None, "from before the stage");
    assert_eq!(told(3, 0, 5.0), None);
    assert_eq!(told(3, 9, 5.0), Some((40.0, 0)), "four for ten seconds");
    assert_eq!(told(4, 0, 6.0), Some((30.0, 1)), "and the one that failed");
    assert_eq!(told(4, 0, 1_750.0), None);
    assert_eq!(told(4, 0, 51.0), Some((7_204.0, 0)), "half an hour of four");
    assert_eq!(told(2, 0, 6.0), Some((36.0, 2)), "another pool");
}
