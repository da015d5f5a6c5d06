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
mod errors;
mod latencies;
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

/// A lane whose calls took as long as it says.
fn taking(millis: impl IntoIterator<Item = u64>) -> LaneWindow {
    let took: Latency = millis.into_iter().map(Duration::from_millis).collect();
    let mut window = lane(took.count());
    let program = window.programs.get_mut("qa").expect("there");
    program.total = took.clone();
    window.total = took;
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
