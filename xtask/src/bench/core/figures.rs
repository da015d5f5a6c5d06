//! The figures of the three crates, what each must reach, and whether it does.
//!
//! A ratio is taken within each round; the figure is the median of the rounds' ratios.

use super::super::figures::{Figure, Lack, Limit, Made, absolute, ratio};
use super::super::spread::Spread;
use super::rounds::Samples;

/// Every benchmark that takes part in a figure is named here and in `benches/` of its crate.
const DECISION: &str = "flags/decision with key";

/// The same, in the process in which other crates decide.
const BESIDE_RIVALS: &str = "flags/decision with key, beside rivals";

/// All figures, measured or not.
pub(super) fn all(samples: &Samples) -> Vec<Figure> {
    use Limit::{AtLeast, AtMost};
    let against = |id, what: &str, ours, theirs| {
        let made = samples.ratio(theirs, ours).map_err(|lack| Lack {
            failed: lack.failed && samples.rivals,
            ..lack
        });
        ratio(id, what, AtLeast(1.0), made)
    };
    let grown = |id, what: &str, many: &str, few: &str| {
        let ratio_of = samples.ratio(&format!("{DECISION}{many}"), &format!("{DECISION}{few}"));
        ratio(id, what, AtMost(2.0), ratio_of)
    };
    vec![
        time(
            samples,
            "flag",
            "a flag's decision with a key",
            DECISION,
            100.0,
        ),
        count(
            samples,
            "flag-allocations",
            "the same, allocations",
            DECISION,
            0.0,
        ),
        ratio(
            "flag-threads",
            "the same, 8 threads at once against 1, the time of a decision on its core",
            AtMost(1.25),
            samples.ratio(
                "flags/decision with key, threads: 8",
                "flags/decision with key, threads: 1",
            ),
        ),
        against(
            "flag-unleash",
            "a decision by `unleash-api-client`, against ours",
            BESIDE_RIVALS,
            "flags/unleash-api-client, is_enabled",
        ),
        against(
            "flag-open-feature",
            "one by `open-feature` with a provider in memory, against ours",
            BESIDE_RIVALS,
            "flags/open-feature, in memory",
        ),
        against(
            "flag-flagd",
            "one by flagd's `flagd-evaluation-engine`, against ours",
            BESIDE_RIVALS,
            "flags/flagd-evaluation-engine, fractional",
        ),
        grown(
            "flag-many",
            "a decision on one flag among 100,000, against one of ten",
            ", 100,000 flags",
            "",
        ),
        // What no cache of the processor holds costs a few reads of memory, whoever decides: at most half
        // of what the whole way through the router may take.
        time(
            samples,
            "flag-in-turn",
            "a decision on each of 100,000 flags in turn, past the processor's caches",
            "flags/decision with key, each of 100,000 flags in turn",
            1_000.0,
        ),
        grown(
            "flag-overrides",
            "a decision with 10,000 overrides, against ten",
            ", 10,000 overrides",
            ", 10 overrides",
        ),
        time(
            samples,
            "permit",
            "a permit and its record, closed",
            "breaker/permit and record",
            100.0,
        ),
        against(
            "permit-failsafe",
            "a call through `failsafe`, both with two readings of the clock, against ours",
            "breaker/permit and record, two clock readings, beside rivals",
            "breaker/failsafe, call",
        ),
        against(
            "permit-recloser",
            "one through `recloser`, both with a window of 100 calls, against ours",
            "breaker/permit and record, last 100 calls, beside rivals",
            "breaker/recloser, call",
        ),
        against(
            "permit-tower",
            "one through `tower-resilience-circuitbreaker`, both as tower layers, against ours",
            "breaker/tower layer",
            "breaker/tower-resilience-circuitbreaker, tower layer",
        ),
        time(
            samples,
            "router",
            "route, dispatch and record, on a pool that answers at once",
            "router/execute on stable",
            2_000.0,
        ),
        count(
            samples,
            "router-allocations",
            "the same, allocations",
            "router/execute on stable",
            3.0,
        ),
        time(
            samples,
            "router-session",
            "the same, in a session",
            "router/execute on stable, in a session",
            2_000.0,
        ),
        count(
            samples,
            "router-session-allocations",
            "the same, in a session, allocations",
            "router/execute on stable, in a session",
            3.0,
        ),
        ratio(
            "router-many",
            "the same, ten of 100,000 programs, against ten of ten",
            AtMost(1.25),
            samples.ratio(
                "router/execute, ten of 100,000 programs",
                "router/execute, ten programs",
            ),
        ),
    ]
}

impl Samples {
    /// Why a benchmark has given nothing. One that the run was to measure has failed.
    fn lacks(&self, why: String, name: &str) -> Lack {
        let only = self.only.as_deref();
        let failed = only.is_none_or(|only| name.starts_with(only));
        Lack { why, failed }
    }

    /// The rounds' values of a benchmark, or that it is missing.
    fn values(&self, name: &str) -> Result<&[f64], Lack> {
        let missing = || self.lacks(format!("there is no benchmark {name:?}"), name);
        self.nanos.get(name).map(Vec::as_slice).ok_or_else(missing)
    }

    /// The rounds' ratios of two benchmarks.
    fn ratio(&self, above: &str, below: &str) -> Made {
        let (above, below) = (self.values(above)?, self.values(below)?);
        let each = above.iter().zip(below);
        let ratios: Vec<f64> = each.map(|(above, below)| above / below).collect();
        Spread::of(&ratios).ok_or_else(|| Lack::failed("no round has both"))
    }
}

fn time(samples: &Samples, id: &str, what: &str, name: &str, limit: f64) -> Figure {
    let none = || Lack::failed(format!("no round has {name:?}"));
    let values = samples.values(name);
    let made = values.and_then(|nanos| Spread::of(nanos).ok_or_else(none));
    absolute(id, what, Limit::AtMost(limit), " ns", made)
}

fn count(samples: &Samples, id: &str, what: &str, name: &str, limit: f64) -> Figure {
    let made = samples.allocations.get(name);
    let made = made.and_then(|counts| Spread::of(counts));
    let why = || format!("the benchmark {name:?} does not count them");
    let made = made.ok_or_else(|| samples.lacks(why(), name));
    Figure {
        portable: true,
        ..absolute(id, what, Limit::AtMost(limit), "", made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(figures: &'a [Figure], id: &str) -> &'a Figure {
        figures
            .iter()
            .find(|figure| figure.id == id)
            .expect("a figure")
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut samples = Samples::default();
        let mut add = |name: &str, nanos: &[f64]| {
            samples.nanos.insert(name.to_owned(), nanos.to_vec());
        };
        // A slow round is slow for both.
        add("breaker/permit and record", &[20.0, 200.0, 25.0]);
        add(
            "breaker/permit and record, two clock readings, beside rivals",
            &[20.0, 200.0, 25.0],
        );
        add("breaker/failsafe, call", &[40.0, 400.0, 100.0]);
        let figures = all(&samples);
        let ratio = found(&figures, "permit-failsafe");
        assert_eq!(ratio.measured.expect("it was measured").median, 2.0);
        assert_eq!(ratio.met, Some(true));
        let time = found(&figures, "permit");
        assert_eq!(time.measured.expect("it was measured").median, 25.0);
    }

    #[test]
    fn what_was_not_measured_says_which_benchmark_is_missing() {
        let figures = all(&Samples::default());
        for figure in &figures {
            assert_eq!((figure.met, figure.measured), (None, None), "{}", figure.id);
            assert!(figure.lacks.as_deref().is_some_and(|why| why.contains('/')));
        }
    }

    #[test]
    fn what_was_asked_for_and_is_missing_has_failed() {
        let failed = |rivals: bool, only: Option<&str>| {
            let figures = all(&Samples {
                rivals,
                only: only.map(str::to_owned),
                ..Samples::default()
            });
            ["flag", "permit-failsafe", "router-allocations"].map(|id| found(&figures, id).failed)
        };
        assert_eq!(failed(true, None), [true, true, true]);
        assert_eq!(failed(false, None), [true, false, true]);
        assert_eq!(failed(true, Some("breaker/")), [false, true, false]);
        assert_eq!(failed(true, Some("router/exec")), [false, false, true]);
    }

    #[test]
    fn a_call_in_a_session_has_the_limits_of_any_call() {
        let name = "router/execute on stable, in a session".to_owned();
        let judged = |count: f64| {
            let figures = all(&Samples {
                nanos: [(name.clone(), vec![1_000.0])].into(),
                allocations: [(name.clone(), vec![count])].into(),
                ..Samples::default()
            });
            let met = |id| found(&figures, id).met;
            (met("router-session"), met("router-session-allocations"))
        };
        assert_eq!(judged(3.0), (Some(true), Some(true)));
        assert_eq!(judged(4.0), (Some(true), Some(false)));
    }

    #[test]
    fn ids_are_unique() {
        let figures = all(&Samples::default());
        let mut ids: Vec<&str> = figures.iter().map(|figure| figure.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), figures.len());
    }
}
