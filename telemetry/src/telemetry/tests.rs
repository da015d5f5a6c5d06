//! What must hold of windows: they equal a naive model that keeps every call.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Blame, OTHER};

const SLOT: Duration = Duration::from_millis(100);
const SPAN: Duration = Duration::from_secs(1);
const PROGRAMS: [&str; 4] = ["a", "b", "c", "d"];

fn small(max_programs: usize) -> Telemetry {
    let config = Config {
        span: SPAN,
        slot: SLOT,
        max_programs,
    };
    Telemetry::build(config, Sink::Installed, Instant::now())
}

fn ok(lane: Lane, program: &str, total: Duration) -> Outcome {
    let program = program.into();
    Outcome {
        lane,
        program,
        blame: None,
        kind: "ok",
        total,
        program_time: None,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Debug, Clone)]
struct Call {
    /// Time since the call before.
    gap: Duration,
    /// How much earlier than that it is said to have ended, as threads do that overtake another.
    late: Duration,
    outcome: Outcome,
}

fn call() -> impl Strategy<Value = Call> {
    let blame = prop_oneof![
        3 => Just(None),
        1 => proptest::sample::select(Blame::ALL.to_vec()).prop_map(Some)
    ];
    let times = (1..5_000_000_u64, proptest::option::of(0..5_000_000_u64));
    (
        0..120_u64,
        0..300_u64,
        any::<bool>(),
        0..PROGRAMS.len(),
        blame,
        times,
    )
        .prop_map(
            |(gap, late, candidate, program, blame, (total, program_time))| Call {
                gap: ms(gap),
                late: ms(late),
                outcome: Outcome {
                    lane: if candidate {
                        Lane::Candidate
                    } else {
                        Lane::Stable
                    },
                    program: PROGRAMS[program].into(),
                    blame,
                    kind: blame.map_or("ok", Blame::label),
                    total: Duration::from_micros(total),
                    program_time: program_time.map(Duration::from_micros),
                },
            },
        )
}

/// The value at the rank that a quantile means.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a rank among a few hundred values"
)]
fn naive_quantile(mut values: Vec<Duration>, q: f64) -> Option<Duration> {
    values.sort();
    let rank = (q * values.len().checked_sub(1)? as f64).floor() as usize;
    Some(values[rank])
}

fn assert_latency(latency: &crate::Latency, values: &[Duration]) -> Result<(), TestCaseError> {
    prop_assert_eq!(latency.count(), values.len() as u64);
    for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
        let (ours, exact) = (latency.quantile(q), naive_quantile(values.to_vec(), q));
        prop_assert_eq!(ours.is_some(), exact.is_some());
        let (Some(ours), Some(exact)) = (ours, exact) else {
            continue;
        };
        let off = ours.as_secs_f64() - exact.as_secs_f64();
        prop_assert!(
            off.abs() <= exact.as_secs_f64() * 0.0101 + 2e-9,
            "{q}: {ours:?} {exact:?}"
        );
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_window_equals_the_calls_that_lie_in_it(
        calls in proptest::collection::vec(call(), 0..300),
        back in 0..2_000_u64,
        ahead in 0..500_u64,
    ) {
        let telemetry = small(PROGRAMS.len());
        let mut now = telemetry.epoch;
        let mut naive: Vec<(Instant, Outcome)> = Vec::new();
        for call in calls {
            now += call.gap;
            let ended = now.checked_sub(call.late).unwrap_or(now).max(telemetry.epoch);
            telemetry.record(&call.outcome, ended);
            naive.push((ended, call.outcome));
        }
        now += ms(ahead);
        let since = now.checked_sub(ms(back)).unwrap_or(now).max(telemetry.epoch);

        let slot_of = |at: Instant| (at - telemetry.epoch).as_millis() / SLOT.as_millis();
        let oldest = (slot_of(now) + 1).saturating_sub(SPAN.as_millis() / SLOT.as_millis() + 1);
        let first = slot_of(since).max(oldest);
        naive.retain(|(at, _)| slot_of(*at) >= first);

        for lane in Lane::ALL {
            let window = telemetry.window(lane, since, now);
            let calls: Vec<&Outcome> =
                naive.iter().map(|(_, outcome)| outcome).filter(|o| o.lane == lane).collect();
            prop_assert_eq!(window.calls, calls.len() as u64);
            let mut errors = BTreeMap::new();
            let mut kinds = BTreeMap::new();
            for call in &calls {
                *kinds.entry(call.kind.to_owned()).or_insert(0_u64) += 1;
                if let Some(blame) = call.blame {
                    *errors.entry(blame).or_insert(0_u64) += 1;
                }
            }
            prop_assert_eq!(&window.errors, &errors);
            prop_assert_eq!(window.failed(), errors.values().sum::<u64>());
            prop_assert_eq!(&window.kinds, &kinds);
            let total: Vec<_> = calls.iter().map(|call| call.total).collect();
            assert_latency(&window.total, &total)?;
            let overhead: Vec<_> = calls.iter().map(|call| call.overhead()).collect();
            assert_latency(&window.overhead, &overhead)?;
            for name in PROGRAMS {
                let calls: Vec<_> = calls.iter().filter(|call| &*call.program == name).collect();
                let Some(program) = window.programs.get(name) else {
                    prop_assert_eq!(calls.len(), 0);
                    continue;
                };
                prop_assert_eq!(program.calls, calls.len() as u64);
                let failed = calls.iter().filter(|call| call.blame.is_some()).count();
                prop_assert_eq!(program.errors, failed as u64);
                let total: Vec<_> = calls.iter().map(|call| call.total).collect();
                assert_latency(&program.total, &total)?;
                let overhead: Vec<_> = calls.iter().map(|call| call.overhead()).collect();
                assert_latency(&program.overhead, &overhead)?;
            }
            let start = telemetry.epoch + SLOT * u32::try_from(first).unwrap();
            prop_assert!((window.seconds - (now - start).as_secs_f64()).abs() < 1e-6);
        }
    }
}

#[test]
fn a_call_is_forgotten_after_the_span() {
    let telemetry = small(4);
    let at = telemetry.epoch + ms(50);
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), at);
    assert_eq!(telemetry.window(Lane::Stable, at, at + SPAN).calls, 1);
    assert_eq!(
        telemetry.window(Lane::Stable, at, at + SPAN + SLOT).calls,
        0
    );
    assert_eq!(telemetry.window(Lane::Candidate, at, at).calls, 0);
}

#[test]
fn a_call_too_old_for_its_slot_does_not_spoil_the_newer_one() {
    let telemetry = small(4);
    let now = telemetry.epoch + SPAN * 5;
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), now);
    let same_place = now - (SPAN + SLOT);
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), same_place);
    assert_eq!(
        telemetry.window(Lane::Stable, telemetry.epoch, now).calls,
        1
    );
}

#[test]
fn a_window_that_ends_before_it_begins_is_empty() {
    let telemetry = small(4);
    let now = telemetry.epoch + SPAN;
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), now);
    let window = telemetry.window(Lane::Stable, now + SPAN, now);
    assert_eq!((window.calls, window.seconds), (0, 0.0));
    assert_eq!(window.total.p99(), None);
}

#[test]
fn programs_beyond_the_greatest_number_are_filed_under_other() {
    let telemetry = small(2);
    let now = telemetry.epoch;
    for program in ["a", "b", "c", "d", "d"] {
        telemetry.record(&ok(Lane::Stable, program, ms(1)), now);
    }
    let window = telemetry.window(Lane::Stable, now, now);
    let calls: Vec<_> = window
        .programs
        .iter()
        .map(|(name, p)| (name.as_str(), p.calls))
        .collect();
    assert_eq!(calls, [("a", 1), ("b", 1), (OTHER, 3)]);
    assert_eq!(window.calls, 5);
}

#[test]
fn without_program_time_the_total_is_the_overhead() {
    let telemetry = small(4);
    let now = telemetry.epoch;
    telemetry.record(&ok(Lane::Stable, "a", ms(40)), now);
    let timed = Outcome {
        program_time: Some(ms(30)),
        ..ok(Lane::Candidate, "a", ms(40))
    };
    telemetry.record(&timed, now);
    // A worker's clock may tell more than ours: that is no overhead, not a negative one.
    let overtimed = Outcome {
        program_time: Some(ms(50)),
        ..timed
    };
    assert_eq!(overtimed.overhead(), Duration::ZERO);
    assert_eq!(
        telemetry.window(Lane::Stable, now, now).overhead.max(),
        Some(ms(40))
    );
    assert_eq!(
        telemetry.window(Lane::Candidate, now, now).overhead.max(),
        Some(ms(10))
    );
}

#[test]
fn while_switched_off_windows_get_no_calls() {
    let telemetry = small(4);
    let now = telemetry.epoch;
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), now);
    telemetry.set_enabled(false);
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), now);
    assert!(!telemetry.is_enabled());
    telemetry.set_enabled(true);
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), now);
    assert_eq!(telemetry.window(Lane::Stable, now, now).calls, 2);
}

#[test]
fn no_call_is_lost_between_threads_and_readers() {
    const CALLS: u32 = 2_000;
    let telemetry = small(4);
    let start = telemetry.epoch;
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let telemetry = &telemetry;
            scope.spawn(move || {
                let outcome = ok(Lane::Stable, PROGRAMS[thread as usize], ms(1));
                for call in 0..CALLS {
                    telemetry.record(&outcome, start + SPAN * call / CALLS);
                }
            });
        }
        scope.spawn(|| {
            let mut seen = 0;
            let deadline = Instant::now() + Duration::from_secs(60);
            while seen < u64::from(4 * CALLS) {
                let calls = telemetry.window(Lane::Stable, start, start + SPAN).calls;
                assert!(calls >= seen, "a window lost calls: {calls} after {seen}");
                assert!(Instant::now() < deadline, "{seen} calls after a minute");
                seen = calls;
            }
        });
    });
    let window = telemetry.window(Lane::Stable, start, start + SPAN);
    assert_eq!(window.calls, u64::from(4 * CALLS));
    assert!(
        window
            .programs
            .values()
            .all(|program| program.calls == u64::from(CALLS))
    );
}

#[test]
fn what_was_recorded_is_counted_to_the_call_and_outlasts_the_windows() {
    let telemetry = small(10);
    let begun = Instant::now();
    for call in 0..50 {
        let at = begun + ms(call * 100);
        telemetry.record(&ok(Lane::Candidate, "a", ms(1)), at);
    }
    assert_eq!(telemetry.recorded(Lane::Candidate), 50);
    assert_eq!(telemetry.recorded(Lane::Stable), 0);
    telemetry.set_enabled(false);
    telemetry.record(&ok(Lane::Candidate, "a", ms(1)), begun + ms(5000));
    assert_eq!(telemetry.recorded(Lane::Candidate), 50);
}

#[test]
fn each_call_is_taken_once_wherever_the_takes_fall() {
    let telemetry = small(4);
    let at = |millis| telemetry.epoch + ms(millis);
    telemetry.record(&ok(Lane::Stable, "a", ms(1)), at(20));
    let mut cursor = telemetry.cursor(at(30));
    let (mut made, mut taken, mut seconds) = (0, LaneWindow::default(), 0.0);
    // Several within one slot, some at its edges, some far apart, and one beyond the ring's reach.
    for pause in [10, 20, 39, 1, 100, 100, 250, 999, 1_500] {
        let from = cursor.at;
        for (program, blame) in [
            ("a", None),
            ("b", Some(Blame::Provider)),
            ("b", Some(Blame::Caller)),
        ] {
            let outcome = Outcome {
                blame,
                ..ok(Lane::Candidate, program, ms(pause))
            };
            telemetry.record(&outcome, from + ms(pause));
            made += 1;
        }
        let [stable, candidate] = telemetry.take(&mut cursor, from + ms(pause));
        assert_eq!(
            (stable.calls, stable.programs.len()),
            (0, 0),
            "the call before the cursor is nobody's"
        );
        assert_eq!(candidate.calls, 3, "after {pause} ms");
        seconds += candidate.seconds;
        taken.merge(&candidate);
    }
    assert_eq!(
        (taken.calls, taken.total.count(), taken.failed()),
        (made, made, made / 3 * 2)
    );
    assert_eq!(
        (taken.programs["b"].errors, taken.programs["b"].faults),
        (made / 3 * 2, made / 3)
    );
    assert!(
        (taken.seconds - seconds).abs() < 1e-9 && (seconds - 3.019).abs() < 1e-9,
        "{seconds}"
    );
    let [_, nothing] = telemetry.take(&mut cursor, telemetry.epoch);
    assert_eq!(
        (nothing.calls, nothing.seconds),
        (0, 0.0),
        "a clock that goes back takes nothing"
    );
}
