//! Whether the candidate is as fast as stable under the same load.
//!
//! Rounds alternate between the pools, and so does which of them begins, so that a machine that grows
//! busier or idler meanwhile speaks against neither. Each round of the candidate is held against the round
//! of stable beside it, and what is judged is the median of what it is worse by beyond the tolerance, with
//! its bounds: it is no worse where even the upper bound is none, worse where the lower one is, and else
//! undecided, and more rounds are made. What stays undecided is passed by no validation, quick or full:
//! a quick one only tries less in each round.

use dspex_flags::Percent;

use super::confidence::{Median, bounds};
use super::load::{Round, figures, millis, number, round};
use super::probe::Probe;
use super::rehearsal::Pair;
use super::report::{Area, Finding, Performance};
use super::settings::{Extent, Load, ValidationSettings};
use super::trial::Trial;
use crate::wording;

/// What is compared: the name, the words for it, and a round's time in milliseconds.
struct Measure {
    name: &'static str,
    of: fn(&Round) -> f64,
    /// How the measured time is told.
    shown: fn(&[Round], &Load) -> String,
}

const MEASURES: &[Measure] = &[
    Measure {
        name: "mean latency",
        of: |round| round.mean,
        shown: |rounds, _| time(figures(rounds).mean_ms),
    },
    Measure {
        name: "median latency",
        of: |round| round.p50,
        shown: |rounds, _| time(figures(rounds).p50_ms),
    },
    Measure {
        name: "p99 latency",
        of: |round| round.p99,
        shown: |rounds, _| time(figures(rounds).p99_ms),
    },
    Measure {
        name: "throughput",
        of: |round| round.per_operation,
        shown: |rounds, _| match figures(rounds).per_second {
            Some(rate) => format!("{rate:.0} calls/s"),
            None => "no call answered".to_owned(),
        },
    },
];

/// What the rounds say of one measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    NoWorse,
    Worse,
    Undecided,
}

/// Runs the load on both, and finds.
pub(super) async fn performance(
    pair: &Pair,
    probe: &Probe,
    settings: &ValidationSettings,
    extent: Extent,
    trial: &mut Trial<'_>,
) -> Performance {
    let load = settings.load(extent);
    trial.begins("the same load on both pools");
    let run = |pool| round(pool, probe, load.users, load.operations, settings.patience);
    // Once, unmeasured: every worker has built the programs then.
    run(&pair.stable).await;
    run(&pair.candidate).await;
    let (mut stable, mut candidate) = (Vec::new(), Vec::new());
    let judge = |stable: &[Round], candidate: &[Round], of: fn(&Round) -> f64| {
        judge(&excess(stable, candidate, settings, of))
    };
    while stable.len() < load.most_rounds {
        if stable.len().is_multiple_of(2) {
            stable.push(run(&pair.stable).await);
            candidate.push(run(&pair.candidate).await);
        } else {
            candidate.push(run(&pair.candidate).await);
            stable.push(run(&pair.stable).await);
        }
        let decided =
            |measure: &Measure| judge(&stable, &candidate, measure.of).0 != Judgement::Undecided;
        if stable.len() >= load.rounds && MEASURES.iter().all(decided) {
            break;
        }
    }
    for measure in MEASURES {
        let (judgement, by) = judge(&stable, &candidate, measure.of);
        let found = find(
            measure,
            judgement,
            by,
            (&stable, &candidate),
            settings,
            &load,
        );
        trial.found(found);
    }
    errors(&stable, &candidate, settings, trial);
    Performance {
        rounds: stable.len(),
        users: load.users,
        operations: load.operations,
        stable: figures(&stable),
        candidate: figures(&candidate),
    }
}

/// By how many milliseconds each of the candidate's rounds is worse than the one of stable beside it,
/// beyond what is tolerated.
fn excess(
    stable: &[Round],
    candidate: &[Round],
    settings: &ValidationSettings,
    of: fn(&Round) -> f64,
) -> Vec<f64> {
    let floor = millis(settings.latency_floor);
    let tolerance = 1.0 + wording::fraction(settings.tolerance);
    let pairs = stable.iter().zip(candidate);
    pairs
        .map(|(stable, candidate)| {
            let stable = of(stable);
            of(candidate) - (stable * tolerance).max(stable + floor)
        })
        .collect()
}

fn judge(excess: &[f64]) -> (Judgement, Option<Median>) {
    let by = bounds(excess);
    let judgement = match by {
        Some(by) if by.high <= 0.0 => Judgement::NoWorse,
        Some(by) if by.low > 0.0 => Judgement::Worse,
        _ => Judgement::Undecided,
    };
    (judgement, by)
}

fn find(
    measure: &Measure,
    judgement: Judgement,
    by: Option<Median>,
    (stable, candidate): (&[Round], &[Round]),
    settings: &ValidationSettings,
    load: &Load,
) -> Finding {
    let ok = judgement == Judgement::NoWorse;
    let undecided = match (judgement, by) {
        (Judgement::Undecided, None) => "; undecided: some rounds had no answer".to_owned(),
        (Judgement::Undecided, Some(by)) => format!(
            "; undecided after {} rounds: beyond the limit by {:.1} to {:.1} ms",
            stable.len(),
            by.low,
            by.high
        ),
        _ => String::new(),
    };
    let value = format!(
        "{} against stable's {}, {} users{undecided}",
        (measure.shown)(candidate, load),
        (measure.shown)(stable, load),
        load.users,
    );
    let limit = format!(
        "no worse than stable's by more than {} or {} a call",
        wording::share(settings.tolerance),
        wording::latency(settings.latency_floor)
    );
    let hint = match (ok, judgement) {
        (true, _) => None,
        (false, Judgement::Undecided) => Some(
            "run it again on a quieter machine, or raise validation.*.most_rounds or the tolerance",
        ),
        (false, _) => Some(
            "compare workers, concurrency and environment of the two pools; where this is what is \
             wanted, raise validation.tolerance or validation.latency_floor",
        ),
    };
    Finding::new(Area::Performance, measure.name, ok, value, limit)
        .hint(hint)
        .inconclusive(judgement == Judgement::Undecided)
}

fn errors(
    stable: &[Round],
    candidate: &[Round],
    settings: &ValidationSettings,
    trial: &mut Trial<'_>,
) {
    let rate = |rounds: &[Round]| {
        let seen = figures(rounds);
        number(usize::try_from(seen.errors).unwrap_or(usize::MAX))
            / number(usize::try_from(seen.calls).unwrap_or(usize::MAX))
    };
    let (ours, theirs) = (rate(candidate), rate(stable));
    let limit = allowed(theirs, settings.error_rate, settings.tolerance);
    let ok = ours <= limit;
    let first = candidate.iter().find_map(|round| round.first_error.clone());
    let first = first.map(|error| format!("; first: {error}"));
    let value = format!(
        "{} of {} calls against stable's {}{}",
        wording::percent_of(ours),
        figures(candidate).calls,
        wording::percent_of(theirs),
        first.unwrap_or_default()
    );
    let limit = format!("at most {}", wording::percent_of(limit));
    trial.found(
        Finding::new(Area::Performance, "errors under load", ok, value, limit)
            .hint((!ok).then_some("the server's log has the workers' own words")),
    );
}

/// The share of errors that is still good: stable's own, within the tolerance, but always the configured
/// one. Where stable cannot serve the load either, nothing is known of the candidate by being as bad.
fn allowed(stable: f64, configured: Percent, tolerance: Percent) -> f64 {
    let most = wording::fraction(configured);
    (stable * (1.0 + wording::fraction(tolerance))).clamp(most, most.max(WORST))
}

/// More errors than this are never good.
const WORST: f64 = 0.05;

fn time(ms: Option<f64>) -> String {
    match ms {
        Some(ms) => format!("{ms:.1} ms"),
        None => "no call answered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thresholds::percent;

    #[test]
    fn a_median_is_judged_by_its_bounds() {
        let of = |values: &[f64]| judge(values).0;
        assert_eq!(of(&[-1.0; 8]), Judgement::NoWorse);
        assert_eq!(of(&[1.0; 8]), Judgement::Worse);
        let mixed = [-3.0, -2.0, -1.0, -1.0, -1.0, -1.0, -1.0, 2.0];
        assert_eq!(of(&mixed), Judgement::Undecided);
        assert_eq!(of(&[-1.0; 3]), Judgement::Undecided, "too few");
        assert_eq!(of(&[f64::NAN; 8]), Judgement::Undecided, "no answer");
    }

    #[test]
    fn stables_errors_excuse_the_candidates_only_so_far() {
        let limit = |stable| allowed(stable, percent(10), percent(1_000));
        assert!((limit(0.0) - 0.001).abs() < 1e-12);
        assert!((limit(0.02) - 0.022).abs() < 1e-12);
        assert!((limit(0.9) - WORST).abs() < 1e-12);
    }

    #[test]
    fn a_floor_keeps_small_times_from_being_compared() {
        let at = |ms: f64| Round {
            calls: 1,
            errors: 0,
            first_error: None,
            mean: ms,
            p50: ms,
            p99: ms,
            per_operation: ms,
            per_second: 1_000.0 / ms,
        };
        let settings = ValidationSettings::default();
        let excess =
            |stable, candidate| excess(&[at(stable)], &[at(candidate)], &settings, |r| r.mean)[0];
        assert!(excess(1.0, 10.9) < 0.0, "nine times, and within the floor");
        assert!(excess(1.0, 11.1) > 0.0);
        assert!(excess(1_000.0, 1_099.0) < 0.0);
        assert!(excess(1_000.0, 1_101.0) > 0.0);
    }
}
