//! What dspex must reach beside other servers, and whether it does.
//!
//! The limits against the others are 1: as fast as they are. Where they have no hop to a worker this may
//! be out of reach, and then the table says so.

use super::page::{NAMES, OURS};
use crate::bench::figures::{Figure, Limit, Source, absolute, ratio};
use crate::bench::rounds::Samples;

/// The owner's target for a recovery.
const RECOVERY_MS: f64 = 500.0;

/// All figures, measured or not.
pub(super) fn all(samples: &Samples, absent: &[(String, String)]) -> Vec<Figure> {
    let source = Source { samples, absent };
    let mut figures = Vec::new();
    for (id, contender, pool) in [("v2", OURS, "V2"), ("v1", "http/dspex-v1", "V1")] {
        figures.push(Figure {
            portable: true,
            ..absolute(
                &format!("kill-failed-{id}"),
                &format!("dspex, pool {pool}: requests that failed when a worker was killed"),
                Limit::AtMost(0.0),
                "",
                source.total(contender, "failed"),
            )
        });
        figures.push(absolute(
            &format!("kill-longest-{id}"),
            "the same: the slowest request then",
            Limit::AtMost(RECOVERY_MS),
            " ms",
            source.numbers(contender, "longest_ms"),
        ));
    }
    let rivals = NAMES.iter().filter(|(name, _)| !name.contains("/dspex"));
    for (contender, name) in rivals {
        let id = contender.trim_start_matches("http/");
        figures.push(ratio(
            &format!("rate-{id}"),
            &format!("requests/s, dspex on pool V2 against {name}"),
            Limit::AtLeast(1.0),
            source.ratio(OURS, contender, "rate"),
        ));
        figures.push(ratio(
            &format!("p99-{id}"),
            "the same: p99",
            Limit::AtMost(1.0),
            source.ratio(OURS, contender, "p99_us"),
        ));
    }
    figures
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_failed_request_of_all_rounds_is_not_forgiven() {
        let mut samples = Samples::default();
        for failed in [0, 1, 0] {
            samples.note(
                OURS,
                json!({ "failed": failed, "longest_ms": 20.0, "rate": 50.0, "p99_us": 9.0 }),
            );
            samples.note("http/litserve", json!({ "rate": 100.0 }));
        }
        let absent = [("http/bentoml".to_owned(), "not here".to_owned())];
        let figures = all(&samples, &absent);
        let figure = |id: &str| {
            figures
                .iter()
                .find(|figure| figure.id == id)
                .expect("a known figure")
        };
        let failed = figure("kill-failed-v2");
        assert_eq!(failed.measured.expect("measured").median, 1.0);
        assert_eq!((failed.met, failed.portable), (Some(false), true));
        assert_eq!(figure("kill-longest-v2").met, Some(true));
        let slower = figure("rate-litserve");
        assert_eq!(slower.measured.expect("measured").median, 0.5);
        assert_eq!(slower.met, Some(false), "slower is said to be slower");
        assert_eq!(figure("rate-bentoml").met, None);
        let why = figure("p99-bentoml").lacks.as_ref().expect("a reason");
        assert!(why.contains("not here"), "{why}");
    }
}
