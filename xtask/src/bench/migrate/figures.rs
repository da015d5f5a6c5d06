//! The figures of verdicts and of what they cost, what each must reach, and whether it does.
//!
//! Shares are of a number of runs, and another thousand would give another share: the smallest and the
//! largest are the bounds within which the true share lies with 95 % confidence (Wilson's), so that only
//! what is beyond chance is called worse. Simulated verdicts mean the same on every machine; costs are
//! times on this one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bench::figures::{Figure, Lack, Limit, Made, absolute};
use crate::bench::spread::Spread;

/// The normal distribution's 97.5th percentile.
const Z: f64 = 1.96;

/// All figures, measured or not.
pub(super) fn all(results: &BTreeMap<String, Value>) -> Vec<Figure> {
    let told = |name: &str| {
        let result = results.get(name).ok_or("it is not in the result")?;
        let of = |field: &str| result[field].as_f64().ok_or("it is not in the result");
        Ok::<_, &str>(share(of("told")?, of("runs")?))
    };
    let figure = |name: &str, what: &str, limit| Figure {
        portable: true,
        ..absolute(name, what, limit, " %", told(name).map_err(Lack::failed))
    };
    let cost = |name: &str, what: &str, limit, unit: &str, fields: &[&str]| {
        let made = rounds(results, name, fields);
        absolute(name, what, Limit::AtMost(limit), unit, made)
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
                spread.ok_or_else(|| Lack::failed("it was never told")),
            )
        }
    };
    vec![
        figure(
            "equal",
            "candidates equal to stable that were told",
            Limit::AtMost(1.0),
        ),
        figure(
            "errors",
            "candidates with 5 % more failures that were told",
            Limit::AtLeast(95.0),
        ),
        figure(
            "latency",
            "candidates that take 20 % longer that were told",
            Limit::AtLeast(95.0),
        ),
        after("errors", "more failures: seconds until told, the median"),
        after("latency", "longer calls: seconds until told, the median"),
        cost(
            "look",
            "a look with a million calls in the window: taken, added up, judged",
            5.0,
            " ms",
            &["ms", "ms_p50"],
        ),
        cost(
            "tick",
            "a whole tick with as many: the look, the decision, the journal's write to SQLite",
            5.0,
            " ms",
            &["ms"],
        ),
        cost(
            "journal",
            "a journal of 100,000 entries, read and replayed",
            1.0,
            " s",
            &["seconds"],
        ),
    ]
}

/// What each round gave, in the first of these fields that is there. Older results have one number.
fn rounds(results: &BTreeMap<String, Value>, name: &str, fields: &[&str]) -> Made {
    let result = results.get(name);
    let fields = fields.iter().filter_map(|field| result?.get(*field));
    let mut spreads = fields.filter_map(|value| match value.as_array() {
        Some(rounds) => {
            let numbers: Option<Vec<f64>> = rounds.iter().map(Value::as_f64).collect();
            Spread::of(&numbers?)
        }
        None => Spread::of(&[value.as_f64()?]),
    });
    spreads
        .next()
        .ok_or_else(|| Lack::failed(format!("no {name} is in the result")))
}

/// A share in percent, within its bounds.
fn share(part: f64, whole: f64) -> Spread {
    let share = part / whole;
    let scale = 1.0 + Z * Z / whole;
    let middle = (share + Z * Z / (2.0 * whole)) / scale;
    let root = (share * (1.0 - share) / whole + Z * Z / (4.0 * whole * whole)).sqrt();
    let half = Z * root / scale;
    Spread {
        median: share * 100.0,
        min: (middle - half).max(0.0) * 100.0,
        max: (middle + half) * 100.0,
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
        assert_eq!(alarms, ["candidates equal to stable that were told"]);
        let missed = worse(&results(3, 700, 300.0));
        assert_eq!(missed, ["candidates with 5 % more failures that were told"]);
        assert_eq!(worse(&results(3, 1000, 600.0)).len(), 2, "both are later");
        let mut never = results(3, 1000, 300.0);
        for name in ["errors", "latency"] {
            never.get_mut(name).expect("it is there")["after_p50_s"] = Value::Null;
        }
        assert_eq!(worse(&never).len(), 2, "they were never told");
    }

    #[test]
    fn a_share_lies_within_its_bounds() {
        let none = share(0.0, 1000.0);
        assert!(
            none.min.abs() < 1e-9 && (0.3..0.5).contains(&none.max),
            "{none:?}"
        );
        let half = share(500.0, 1000.0);
        assert!((46.0..48.0).contains(&half.min) && (52.0..54.0).contains(&half.max));
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
