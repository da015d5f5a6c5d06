//! The figures of the three crates, what each must reach, and whether it does.
//!
//! A ratio is taken within each round; the figure is the median of the rounds' ratios.

use super::super::figures::{Figure, Limit};
use super::super::spread::Spread;
use super::rounds::Samples;

/// Every benchmark that takes part in a figure is named here and in `benches/` of its crate.
const DECISION: &str = "flags/decision with key";

/// The same, in the process in which other crates decide.
const BESIDE_RIVALS: &str = "flags/decision with key, beside rivals";

/// All figures, measured or not.
pub(super) fn all(samples: &Samples) -> Vec<Figure> {
    use Limit::{AtLeast, AtMost};
    let against =
        |id, what: &str, ours, theirs| ratio(id, what, AtLeast(1.0), samples.ratio(theirs, ours));
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
            "a decision among 100,000 flags, against ten",
            ", 100,000 flags",
            "",
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
            "a call through `failsafe`, against ours",
            "breaker/permit and record, time, beside rivals",
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
    /// The rounds' ratios of two benchmarks, or the one that is missing.
    fn ratio(&self, above: &str, below: &str) -> Result<Spread, String> {
        let of = |name: &str| {
            let found = self.nanos.get(name);
            found.ok_or_else(|| format!("there is no benchmark {name:?}"))
        };
        let ratios: Vec<f64> = of(above)?
            .iter()
            .zip(of(below)?)
            .map(|(above, below)| above / below)
            .collect();
        Spread::of(&ratios).ok_or_else(|| "no round has both".to_owned())
    }
}

fn time(samples: &Samples, id: &str, what: &str, name: &str, limit: f64) -> Figure {
    let made = samples.nanos.get(name).and_then(|nanos| Spread::of(nanos));
    let made = made.ok_or_else(|| format!("there is no benchmark {name:?}"));
    figure(id, what, Limit::AtMost(limit), " ns", false, made)
}

fn count(samples: &Samples, id: &str, what: &str, name: &str, limit: f64) -> Figure {
    let made = samples.allocations.get(name);
    let made = made.and_then(|counts| Spread::of(counts));
    let made = made.ok_or_else(|| format!("the benchmark {name:?} does not count them"));
    figure(id, what, Limit::AtMost(limit), "", true, made)
}

fn ratio(id: &str, what: &str, limit: Limit, made: Result<Spread, String>) -> Figure {
    figure(id, what, limit, " ×", true, made)
}

fn figure(
    id: &str,
    what: &str,
    limit: Limit,
    unit: &str,
    portable: bool,
    made: Result<Spread, String>,
) -> Figure {
    let (measured, lacks) = match made {
        Ok(spread) => (Some(spread), None),
        Err(why) => (None, Some(why)),
    };
    Figure {
        id: id.to_owned(),
        what: what.to_owned(),
        limit,
        unit: unit.to_owned(),
        portable,
        met: measured.map(|spread| limit.met(spread.median)),
        measured,
        lacks,
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
            "breaker/permit and record, time, beside rivals",
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
    fn ids_are_unique() {
        let figures = all(&Samples::default());
        let mut ids: Vec<&str> = figures.iter().map(|figure| figure.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), figures.len());
    }
}
