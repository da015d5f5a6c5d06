//! The rules one by one: what they say, and what they keep quiet about.

use std::time::Duration;

use dspex_flags::Percent;
use dspex_pool::{Growth, PoolStatus};
use dspex_telemetry::{Blame, HostUsage, LaneWindow, Latency, ProgramWindow};

use super::*;
use crate::ledger::Counted;
use crate::sample::Sample;
use crate::thresholds::percent;

mod differences;
mod memory;
mod scenarios;

fn pool(ready: usize) -> PoolStatus {
    PoolStatus {
        name: "v2".into(),
        kind: "simulated",
        size: 4,
        ready,
        capacity: 4,
        starts: 4,
        failures: 0,
        growth: Some(growth("v2-0.1", 0.01, -0.02)),
        ..PoolStatus::default()
    }
}

fn growth(worker: &str, per_hour: f64, at_least: f64) -> Growth {
    Growth {
        worker: worker.into(),
        program: None,
        per_hour,
        at_least,
        samples: 90,
        span: Duration::from_secs(2700),
    }
}

fn latency(count: u64, ms: u64) -> Latency {
    (0..count).map(|_| Duration::from_millis(ms)).collect()
}

/// A lane with `calls` calls of program `qa`: one second of program, 10 ms of overhead.
fn lane(calls: u64) -> LaneWindow {
    with_latency(calls, 10, 1010)
}

fn with_latency(calls: u64, overhead: u64, total: u64) -> LaneWindow {
    let mut window = LaneWindow {
        calls,
        seconds: 60.0,
        ..LaneWindow::default()
    };
    window.overhead = latency(calls, overhead);
    window.total = latency(calls, total);
    window.kinds.insert("ok".into(), calls);
    let program = ProgramWindow {
        calls,
        errors: 0,
        faults: 0,
        total: window.total.clone(),
        overhead: window.overhead.clone(),
    };
    window.programs.insert("qa".into(), program);
    window
}

fn failing(mut window: LaneWindow, blame: Blame, count: u64) -> LaneWindow {
    window.errors.insert(blame, count);
    window.kinds.insert(format!("{blame}-failed"), count);
    for program in window.programs.values_mut() {
        program.errors += count;
        program.faults += if blame == Blame::Caller { 0 } else { count };
    }
    window
}

fn evidence(stable: LaneWindow, candidate: LaneWindow) -> Evidence {
    let host = HostUsage {
        cpu_percent: Some(30.0),
        memory_percent: Some(40.0),
        ..HostUsage::default()
    };
    let plan = crate::settings::Settings::default().plan("v1", "v2", None);
    let sample = Sample {
        lanes: [stable, candidate],
        candidate_pool: Some(pool(4)),
        host,
        recorded: true,
        percent: percent(2_500),
        counts: true,
        ..Sample::default()
    };
    Evidence::at_once(&plan.expect("valid"), &sample)
}

fn judge(seen: &Evidence) -> Analysis {
    analyse(&Thresholds::default(), seen)
}

/// The one reason of that rule.
fn said<'a>(analysis: &'a Analysis, rule: &str) -> &'a Reason {
    let mut reasons = analysis.reasons.iter().filter(|reason| reason.rule == rule);
    let reason = reasons
        .next()
        .unwrap_or_else(|| panic!("no {rule} in {analysis:#?}"));
    assert!(reasons.next().is_none(), "{rule} twice in {analysis:#?}");
    reason
}

#[test]
fn two_good_lanes_are_healthy_without_a_word() {
    let analysis = judge(&evidence(lane(600), lane(200)));
    assert_eq!(
        (analysis.verdict, analysis.reasons.len()),
        (Verdict::Healthy, 0)
    );
    assert_eq!(
        (analysis.stable.calls, analysis.candidate.calls),
        (600, 200)
    );
    assert_eq!(analysis.action(), None);
}

#[test]
fn nothing_seen_is_inconclusive_and_says_what_it_lacks() {
    let analysis = judge(&evidence(lane(0), lane(0)));
    assert_eq!(analysis.verdict, Verdict::Inconclusive);
    let few = judge(&evidence(lane(600), lane(12)));
    assert_eq!(few.verdict, Verdict::Inconclusive);
    let reason = said(&few, "minimum_samples");
    assert_eq!(
        reason.needs.as_deref(),
        Some("38 more calls on the candidate")
    );
    assert_eq!(
        few.summary(),
        "the candidate had 12 calls in this window and 50 are needed: waiting for 38 more calls on the candidate"
    );
    let one_less = judge(&evidence(lane(49), lane(200)));
    assert_eq!(
        said(&one_less, "minimum_samples").needs.as_deref(),
        Some("1 more call on stable")
    );
}

#[test]
fn at_all_traffic_the_absolute_rules_decide_alone() {
    let mut seen = evidence(LaneWindow::default(), lane(400));
    seen.percent = Percent::HUNDRED;
    let analysis = judge(&seen);
    assert_eq!(analysis.verdict, Verdict::Healthy);
    assert!(
        said(&analysis, "error_ratio")
            .text
            .contains("the absolute rules decide alone")
    );
    assert!(
        said(&analysis, "p99_ratio")
            .text
            .contains("stable serves nothing")
    );
    let mut failing = evidence(LaneWindow::default(), failing(lane(400), Blame::Pool, 100));
    failing.percent = Percent::HUNDRED;
    assert_eq!(judge(&failing).action(), Some(Action::Rollback));
}

#[test]
fn pool_faults_roll_back_when_they_are_evident() {
    let seen = evidence(lane(600), failing(lane(200), Blame::Pool, 40));
    let analysis = judge(&seen);
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Critical, Some(Action::Rollback))
    );
    let reason = said(&analysis, "critical_error_rate");
    assert_eq!(
        reason.text,
        "pool faults on the candidate: 20 % (40 of 200 calls: 40 pool-failed), limit 10 %"
    );
    assert_eq!((reason.value, reason.limit), (Some(0.2), Some(0.1)));
}

#[test]
fn a_catastrophe_need_not_wait_for_the_minimum_and_a_handful_proves_nothing() {
    let rolls_back = |calls, faults| {
        // Stable is as bad, so that only the absolute rule can speak.
        let stable = failing(lane(600), Blame::Pool, 300);
        let seen = evidence(stable, failing(lane(calls), Blame::Pool, faults));
        judge(&seen).action() == Some(Action::Rollback)
    };
    assert!(rolls_back(10, 8) && rolls_back(12, 12));
    assert!(
        !rolls_back(10, 4),
        "40 % of 10 happen at some look of a day with a rate below 10 %"
    );
    assert!(!rolls_back(9, 9), "9 calls are a handful");
    assert!(!rolls_back(50, 6), "12 % of 50 may be 5 % by chance");
}

#[test]
fn a_moderate_rate_of_pool_faults_holds_but_does_not_roll_back() {
    let analysis = judge(&evidence(
        failing(lane(600), Blame::Pool, 40),
        failing(lane(200), Blame::Pool, 13),
    ));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    assert!(
        said(&analysis, "error_rate")
            .text
            .contains("6.5 % (13 of 200 calls")
    );
}

#[test]
fn the_callers_faults_speak_against_nobody() {
    let analysis = judge(&evidence(lane(600), failing(lane(200), Blame::Caller, 200)));
    assert_eq!(analysis.verdict, Verdict::Healthy);
    assert_eq!(analysis.candidate.failed, 0);
}

#[test]
fn an_outage_upstream_hits_both_lanes_and_speaks_against_neither() {
    for blame in [Blame::Provider, Blame::Program] {
        let analysis = judge(&evidence(
            failing(lane(600), blame, 480),
            failing(lane(200), blame, 170),
        ));
        assert_eq!(analysis.verdict, Verdict::Healthy, "{analysis:#?}");
    }
}

#[test]
fn failures_are_compared_with_a_floor_and_with_significance() {
    let action = |stable, candidate| {
        let seen = evidence(
            failing(lane(1000), Blame::Program, stable),
            failing(lane(200), Blame::Program, candidate),
        );
        judge(&seen).action()
    };
    assert_eq!(action(10, 20), Some(Action::Rollback), "10 % against 1 %");
    assert_eq!(action(40, 20), None, "2.5 times is not 3 times");
    assert_eq!(
        action(0, 2),
        None,
        "1 % is not above the floor, whatever the baseline"
    );
    assert_eq!(
        action(0, 3),
        None,
        "three may be chance at one look of a day"
    );
    assert_eq!(
        action(0, 12),
        Some(Action::Rollback),
        "a zero baseline is no excuse"
    );
}

#[test]
fn the_overhead_is_judged_by_itself() {
    let analysis = judge(&evidence(
        with_latency(600, 230, 1230),
        with_latency(200, 260, 1260),
    ));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    let text = &said(&analysis, "overhead_p99").text;
    assert!(
        text.contains("limit 200 ms (stable 2") && text.contains("over 200 calls"),
        "{text}"
    );
}

#[test]
fn a_p99_is_compared_by_program_with_certainty_and_beyond_a_floor() {
    let action = |stable, candidate| judge(&evidence(stable, candidate)).action();
    let slow_pool = action(with_latency(1_500, 40, 1040), with_latency(200, 140, 1140));
    assert_eq!(slow_pool, Some(Action::Rollback));
    let slow_program = action(with_latency(1_500, 10, 1000), with_latency(200, 10, 2500));
    assert_eq!(slow_program, Some(Action::Rollback));
    let below_the_floor = action(with_latency(1_500, 1, 1001), with_latency(200, 45, 1045));
    assert_eq!(below_the_floor, None, "45 times, but 44 ms");
    let uncertain = judge(&evidence(
        with_latency(600, 10, 1000),
        with_latency(200, 10, 1900),
    ));
    assert_eq!(
        (uncertain.verdict, uncertain.action()),
        (Verdict::Warning, None),
        "stable's own p99 may be anywhere above its slowest call"
    );
    // Another mix of programs in the lanes is not a slower lane.
    let mut other_mix = with_latency(200, 10, 9000);
    let program = other_mix.programs.remove("qa").expect("there");
    other_mix.programs.insert("essay".into(), program);
    assert_eq!(action(with_latency(1_500, 10, 1000), other_mix), None);
}

#[test]
fn calls_that_all_take_far_longer_are_told_before_a_p99_can_be() {
    let slow = judge(&evidence(
        with_latency(300, 10, 1000),
        with_latency(120, 10, 2500),
    ));
    assert_eq!(slow.action(), Some(Action::Rollback), "{slow:#?}");
    let reason = said(&slow, "median_ratio");
    assert!(
        reason
            .text
            .starts_with("median of whole calls of qa on the candidate: 2500 ms over 120"),
        "{reason:?}"
    );
    // Twice as long is the limit, and not beyond it.
    let twice = judge(&evidence(
        with_latency(300, 10, 1000),
        with_latency(120, 10, 1950),
    ));
    assert_eq!(twice.action(), None, "{twice:#?}");
    // Of calls of which each may take short or long, the median of a hundred is uncertain.
    let either =
        |long: u64| taking((0..120).map(move |i| if i % 120 < long { 2_500 } else { 1_000 }));
    let half = judge(&evidence(taking((0..300).map(|_| 1_000)), either(63)));
    assert!(
        half.reasons
            .iter()
            .all(|reason| reason.rule != "median_ratio"),
        "{half:#?}"
    );
}

/// A lane whose calls took as long as it says.
fn taking(millis: impl IntoIterator<Item = u64>) -> LaneWindow {
    let took: Latency = millis.into_iter().map(Duration::from_millis).collect();
    let mut window = lane(took.count());
    let program = window.programs.get_mut("qa").expect("there");
    program.total = took.clone();
    window.total = took;
    window
}

#[test]
fn a_tail_that_grows_alone_pauses_and_a_shift_of_all_is_degradation() {
    let normal = |calls: u64| (0..calls).map(|i| 800 + i % 100);
    // One call in twenty-five hangs for ten seconds; the others are as they were.
    let tail = taking((0..1_000).map(|i| if i % 25 == 0 { 10_000 } else { 800 + i % 100 }));
    let analysis = judge(&evidence(taking(normal(3_000)), tail));
    assert_eq!(analysis.action(), Some(Action::Pause), "{analysis:#?}");
    let reason = said(&analysis, "p99_ratio");
    assert!(
        reason
            .text
            .ends_with("its calls in general are not slower, only the slowest are"),
        "{reason:?}"
    );
    let shifted = taking(normal(1_000).map(|ms| ms * 6 / 5));
    let analysis = judge(&evidence(taking(normal(3_000)), shifted));
    assert_eq!(
        (analysis.verdict, analysis.action()),
        (Verdict::Warning, None)
    );
    let reason = said(&analysis, "degradation");
    assert!(
        reason
            .text
            .starts_with("median of whole calls of qa on the candidate: 10"),
        "{reason:?}"
    );
    let slightly = taking(normal(1_000).map(|ms| ms * 27 / 25));
    let analysis = judge(&evidence(taking(normal(3_000)), slightly));
    assert_eq!(
        analysis.verdict,
        Verdict::Healthy,
        "8 % is certain, and below the limit"
    );
}

#[test]
fn a_p99_of_few_samples_is_not_judged_and_does_not_stand_in_the_way() {
    let analysis = judge(&evidence(
        with_latency(600, 10, 1000),
        with_latency(60, 190, 9000),
    ));
    assert_eq!(analysis.verdict, Verdict::Healthy);
    let reason = said(&analysis, "p99_ratio");
    assert_eq!(
        reason.needs.as_deref(),
        Some("40 more calls of qa on the candidate")
    );
    assert!(
        said(&analysis, "overhead_p99")
            .text
            .contains("not judged yet")
    );
}

#[test]
fn a_few_slow_calls_are_not_a_slow_lane() {
    let mut candidate = lane(198);
    candidate.calls = 200;
    let program = candidate.programs.get_mut("qa").expect("there");
    program.calls = 200;
    for _ in 0..2 {
        program.total.record(Duration::from_secs(9));
        program.overhead.record(Duration::from_secs(8));
    }
    assert_eq!(
        judge(&evidence(lane(1_500), candidate)).verdict,
        Verdict::Healthy
    );
}

#[test]
fn workers_are_judged_by_those_that_failed_unasked() {
    let with = |failures| {
        let mut seen = evidence(lane(600), lane(200));
        seen.worker_failures = failures;
        let counted = Counted {
            // Four that go on, for five seconds of a minute.
            workers: Some((4.0 / 12.0, failures)),
            ..Counted::default()
        };
        let change = seen.ledger.play(&Thresholds::default(), 1, &[], counted);
        seen.ledger.change(&change);
        judge(&seen)
    };
    for few in 1..=2 {
        assert_eq!(with(few).verdict, Verdict::Healthy, "{few} prove nothing");
    }
    let analysis = with(3);
    assert_eq!(analysis.action(), Some(Action::Rollback));
    let text = &said(&analysis, "worker_failure_rate").text;
    assert!(
        text.starts_with(
            "workers of the candidate that ended unasked, broke the protocol or failed their \
             health checks: 42.9 % (3 of 7 that ran in this window), limit 10 %"
        ),
        "{text}"
    );
}

#[test]
fn what_cannot_be_seen_is_not_healthy() {
    type Hide = fn(&mut Evidence);
    let unseen: [(&str, Hide); 3] = [
        ("telemetry", |seen| seen.recorded = false),
        ("candidate", |seen| seen.candidate_pool = None),
        ("candidate", |seen| seen.candidate_pool = Some(pool(0))),
    ];
    for (rule, hide) in unseen {
        let mut seen = evidence(lane(600), lane(200));
        hide(&mut seen);
        let analysis = judge(&seen);
        assert_eq!(analysis.verdict, Verdict::Inconclusive);
        assert!(said(&analysis, rule).needs.is_some());
    }
}

#[test]
fn the_machine_is_a_note_unless_it_is_made_more() {
    let mut seen = evidence(lane(600), lane(200));
    seen.host.cpu_percent = Some(97.0);
    let analysis = judge(&seen);
    assert_eq!(analysis.verdict, Verdict::Healthy);
    assert_eq!(
        said(&analysis, "cpu").text,
        "CPU of the host: 97 %, limit 80 %"
    );
    let mut strict = Thresholds::default();
    strict.cpu.action = Action::Log;
    assert_eq!(analyse(&strict, &seen).verdict, Verdict::Warning);
    strict.cpu.action = Action::Pause;
    assert_eq!(analyse(&strict, &seen).action(), Some(Action::Pause));
    for unknown in [None, Some(f64::NAN)] {
        seen.host.cpu_percent = unknown;
        assert_eq!(analyse(&strict, &seen).verdict, Verdict::Inconclusive);
        assert_eq!(judge(&seen).verdict, Verdict::Healthy);
    }
}

#[test]
fn the_strongest_action_is_taken_and_the_worst_is_said_first() {
    let mut thresholds = Thresholds::default();
    thresholds.cpu.action = Action::Pause;
    let mut seen = evidence(lane(600), failing(lane(200), Blame::Pool, 60));
    seen.host.cpu_percent = Some(97.0);
    let analysis = analyse(&thresholds, &seen);
    assert_eq!(analysis.action(), Some(Action::Rollback));
    assert_eq!(analysis.reasons[0].action, Action::Rollback);
    assert!(analysis.summary().contains("pool faults") && analysis.summary().contains("CPU"));
    let text = serde_json::to_string(&analysis).expect("written");
    assert_eq!(
        serde_json::from_str::<Analysis>(&text).expect("read"),
        analysis
    );
}
