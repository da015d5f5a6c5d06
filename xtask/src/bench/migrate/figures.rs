//! What of a run's results means the same on every machine, for a later run to be held against.
//!
//! Shares are of a number of runs, and another thousand would give another share: the smallest and the
//! largest are the bounds within which the true share lies with 95 % confidence (Wilson's), so that only
//! what is beyond chance is called worse. Times on the machine are not among them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bench::figures::{Figure, Limit, absolute, ratio};
use crate::bench::spread::Spread;

/// The normal distribution's 97.5th percentile.
const Z: f64 = 1.96;

/// The verdicts' figures.
pub(super) fn all(results: &BTreeMap<String, Value>) -> Vec<Figure> {
    let told = |name: &str| {
        let result = results.get(name).ok_or("it is not in the result")?;
        let of = |field: &str| result[field].as_f64().ok_or("it is not in the result");
        Ok(share(of("told")?, of("runs")?))
    };
    let figure = |name: &str, what: &str, limit| Figure {
        unit: String::new(),
        ..ratio(name, what, limit, told(name).map_err(str::to_owned))
    };
    let after = |name: &str, what: &str| {
        let seconds = results
            .get(name)
            .and_then(|one| one["after_p50_s"].as_f64());
        let spread = seconds.and_then(|seconds| Spread::of(&[seconds]));
        Figure {
            portable: true,
            ..absolute(
                &format!("{name}-after"),
                what,
                // The hold of the default plan's first stage: told later, more calls went there.
                Limit::AtMost(3600.0),
                " s",
                spread.ok_or_else(|| "it was never told".to_owned()),
            )
        }
    };
    vec![
        figure(
            "equal",
            "candidates equal to stable that were told, a share",
            Limit::AtMost(0.01),
        ),
        figure(
            "errors",
            "candidates with 5 % more failures that were told, a share",
            Limit::AtLeast(0.95),
        ),
        figure(
            "latency",
            "candidates that take 20 % longer that were told, a share",
            Limit::AtLeast(0.95),
        ),
        after("errors", "more failures: seconds until told, the median"),
        after("latency", "longer calls: seconds until told, the median"),
    ]
}

/// A share, within its bounds.
fn share(part: f64, whole: f64) -> Spread {
    let share = part / whole;
    let scale = 1.0 + Z * Z / whole;
    let middle = (share + Z * Z / (2.0 * whole)) / scale;
    let root = (share * (1.0 - share) / whole + Z * Z / (4.0 * whole * whole)).sqrt();
    let half = Z * root / scale;
    Spread {
        median: share,
        min: middle - half,
        max: middle + half,
        samples: 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::compare;

    fn results(equal: u32, errors: u32, after: f64) -> BTreeMap<String, Value> {
        let told =
            |told: u32, after: f64| json!({ "runs": 1000, "told": told, "after_p50_s": after });
        [
            ("equal", told(equal, 0.0)),
            ("errors", told(errors, after)),
            ("latency", told(990, after)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn worse(now: &BTreeMap<String, Value>) -> Vec<String> {
        let before = all(&results(3, 1000, 300.0));
        let worse = compare::among(&before, &all(now));
        let text = compare::text(&worse);
        text.lines()
            .filter_map(|line| line.strip_prefix("- "))
            .map(|line| line.split(':').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn only_verdicts_that_got_worse_beyond_chance_are_flagged() {
        assert_eq!(worse(&results(3, 1000, 300.0)), [""; 0]);
        assert_eq!(worse(&results(4, 999, 310.0)), [""; 0], "chance");
        let alarms = worse(&results(30, 1000, 300.0));
        assert_eq!(
            alarms,
            ["candidates equal to stable that were told, a share"]
        );
        let missed = worse(&results(3, 700, 300.0));
        assert_eq!(
            missed,
            ["candidates with 5 % more failures that were told, a share"]
        );
        assert_eq!(worse(&results(3, 1000, 600.0)).len(), 2, "both are later");
    }

    #[test]
    fn a_share_lies_within_its_bounds() {
        let none = share(0.0, 1000.0);
        assert!(
            none.min.abs() < 1e-12 && (0.003..0.005).contains(&none.max),
            "{none:?}"
        );
        let half = share(500.0, 1000.0);
        assert!((0.46..0.48).contains(&half.min) && (0.52..0.54).contains(&half.max));
    }

    #[test]
    fn what_is_not_in_a_result_is_not_measured() {
        let found = all(&BTreeMap::new());
        assert!(
            found
                .iter()
                .all(|figure| figure.measured.is_none() && figure.lacks.is_some())
        );
    }
}
