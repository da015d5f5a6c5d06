//! The figures, what each must reach, and whether it does.
//!
//! A ratio is taken within each round, between contenders that ran seconds apart; the figure is the
//! median of the rounds' ratios.

use serde::{Deserialize, Serialize};

use super::rounds::Samples;
use super::spread::{Spread, percentile};

/// Kills behind a 99th percentile that says anything.
const ENOUGH_KILLS: usize = 100;

/// One figure of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) id: String,
    pub(super) what: String,
    pub(super) limit: Limit,
    /// Written after numbers, such as ` ms`.
    pub(super) unit: String,
    /// It means the same on every machine, so that two runs may be compared.
    pub(super) portable: bool,
    /// Nothing where it could not be measured.
    pub(super) measured: Option<Spread>,
    /// Why it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lacks: Option<String>,
    /// It was asked for, and could not be measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) failed: bool,
    /// Whether the median is within the limit.
    pub(super) met: Option<bool>,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    pub(super) fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

/// What a figure was made from: its values, or why there are none.
pub(super) type Made = Result<Spread, Lack>;

/// Why a figure has no values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lack {
    pub(super) why: String,
    /// It was asked for: not left out by the options, nor something that is not to be had here.
    pub(super) failed: bool,
}

impl Lack {
    /// It should have been measured.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            failed: true,
        }
    }
}

/// All figures, measured or not.
pub(super) fn all(samples: &Samples, absent: &[(String, String)]) -> Vec<Figure> {
    use Limit::{AtLeast, AtMost};
    let source = Source { samples, absent };
    let echo = |rival: &str| source.ratio("echo/dspex", &format!("echo/{rival}"), "rate");
    let sequential = |place: &str| {
        source.ratio(
            &format!("{place}/dspex"),
            &format!("{place}/bare"),
            "p50_us",
        )
    };
    let own_memory = |field| source.pooled("workers/dspy", field);
    vec![
        ratio(
            "echo-ppe",
            "calls/s, echo of 100 B, 2 workers, 16 in flight, against `ProcessPoolExecutor(2)`",
            AtLeast(5.0),
            echo("process-pool-executor"),
        ),
        ratio(
            "echo-mp",
            "the same against `multiprocessing.Pool(2)`",
            AtLeast(3.0),
            echo("multiprocessing-pool"),
        ),
        ratio(
            "echo-bare",
            "the same against two bare loops on the same wire",
            AtLeast(0.4),
            echo("bare"),
        ),
        ratio(
            "p50-together",
            "p50, sequential, one caller, against the bare loop, both on one core",
            AtMost(1.5),
            sequential("together"),
        ),
        ratio(
            "p50-apart",
            "the same, each on a core of its own",
            AtMost(1.5),
            sequential("apart"),
        ),
        absolute(
            "ready",
            "8 DSPy workers ready from a warm fork server",
            AtMost(100.0),
            " ms",
            source.numbers("fork/dspy", "ready_ms"),
        ),
        absolute(
            "kill-p99",
            "a killed worker's slot serves again, p99",
            AtMost(100.0),
            " ms",
            source.kills(),
        ),
        Figure {
            portable: true,
            ..absolute(
                "kill-failed",
                "repeatable calls that failed under these kills",
                AtMost(0.0),
                "",
                source.total("kills/dspy", "failed"),
            )
        },
        memory(
            "uss-idle",
            "own memory (USS) of a further DSPy worker, idle",
            AtMost(3.0),
            " MB",
            own_memory("idle_mb"),
        ),
        memory(
            "uss-used",
            "the same after 100 Predicts and a full collection",
            AtMost(10.0),
            " MB",
            own_memory("used_mb"),
        ),
        ratio(
            "waiting",
            "calls that wait 0.2 s, 2 workers × 128, 256 in flight: share of the ideal rate",
            AtLeast(0.95),
            source.numbers("waiting/dspex", "share"),
        ),
        memory(
            "session-bytes",
            "1,000,000 sessions known: memory of each",
            AtMost(200.0),
            " B",
            source.numbers("sessions/dspex", "bytes"),
        ),
        absolute(
            "session-lookup",
            "the same: look-up, p99",
            AtMost(5.0),
            " µs",
            source.numbers("sessions/dspex", "lookup_p99_us"),
        ),
        ratio(
            "dispatch",
            "64 workers, 10,000 queued calls: dispatcher's processor time of a call, against 2 workers",
            AtMost(2.0),
            source.ratio("dispatch/64", "dispatch/2", "dispatch_us"),
        ),
    ]
}

/// Makes a figure's spread of what the rounds gave, or says why there is none.
pub(super) struct Source<'a> {
    pub(super) samples: &'a Samples,
    pub(super) absent: &'a [(String, String)],
}

impl Source<'_> {
    /// Why a contender has no values.
    fn lacks(&self, contender: &str) -> Lack {
        let told = |why: &str| format!("{contender}: {}", why.lines().next().unwrap_or_default());
        let known = self.absent.iter().find(|(name, _)| name == contender);
        if let Some((_, why)) = known {
            return Lack {
                why: told(why),
                failed: false,
            };
        }
        if let Some(why) = self.samples.failed.get(contender) {
            return Lack::failed(told(why));
        }
        if self.samples.contenders().any(|name| name == contender) {
            return Lack::failed(told("it ran, and has not said this"));
        }
        Lack {
            why: format!("nothing in this run measures {contender}"),
            failed: !self.samples.part,
        }
    }

    fn spread(&self, contender: &str, values: &[f64]) -> Made {
        Spread::of(values).ok_or_else(|| self.lacks(contender))
    }

    pub(super) fn numbers(&self, contender: &str, field: &str) -> Made {
        self.spread(contender, &self.samples.numbers(contender, field))
    }

    fn pooled(&self, contender: &str, field: &str) -> Made {
        self.spread(contender, &self.samples.pooled(contender, field))
    }

    /// The sum over all rounds: one failure in one round is a failure.
    pub(super) fn total(&self, contender: &str, field: &str) -> Made {
        let numbers = self.samples.numbers(contender, field);
        let spread = self.spread(contender, &numbers)?;
        let median = numbers.iter().sum();
        Ok(Spread { median, ..spread })
    }

    pub(super) fn ratio(&self, ours: &str, theirs: &str, field: &str) -> Made {
        let (mine, other) = (
            self.samples.numbers(ours, field),
            self.samples.numbers(theirs, field),
        );
        if mine.is_empty() {
            return Err(self.lacks(ours));
        }
        let ratios: Vec<f64> = mine.iter().zip(&other).map(|(a, b)| a / b).collect();
        self.spread(theirs, &ratios)
    }

    /// The 99th percentile over the kills of all rounds, with the fastest and the slowest.
    fn kills(&self) -> Made {
        let all = self.samples.pooled("kills/dspy", "back_ms");
        let spread = self.spread("kills/dspy", &all)?;
        if all.len() < ENOUGH_KILLS {
            let why = format!(
                "{} kills are too few for a p99 (median {:.0} ms)",
                all.len(),
                spread.median
            );
            // A short run kills no more.
            return Err(Lack { why, failed: false });
        }
        let median = percentile(&all, 0.99).unwrap_or(f64::NAN);
        Ok(Spread { median, ..spread })
    }
}

pub(super) fn ratio(id: &str, what: &str, limit: Limit, made: Made) -> Figure {
    Figure {
        portable: true,
        ..absolute(id, what, limit, " ×", made)
    }
}

/// Memory depends on what is imported and kept, hardly on the machine.
fn memory(id: &str, what: &str, limit: Limit, unit: &str, made: Made) -> Figure {
    Figure {
        portable: true,
        ..absolute(id, what, limit, unit, made)
    }
}

pub(super) fn absolute(id: &str, what: &str, limit: Limit, unit: &str, made: Made) -> Figure {
    let (measured, lack) = match made {
        Ok(spread) => (Some(spread), None),
        Err(lack) => (None, Some(lack)),
    };
    Figure {
        id: id.to_owned(),
        what: what.to_owned(),
        limit,
        unit: unit.to_owned(),
        portable: false,
        met: measured.map(|spread| limit.met(spread.median)),
        measured,
        failed: lack.as_ref().is_some_and(|lack| lack.failed),
        lacks: lack.map(|lack| lack.why),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(samples: &Samples, id: &str) -> Figure {
        let absent = [("echo/loky".to_owned(), "not here".to_owned())];
        all(samples, &absent)
            .into_iter()
            .find(|figure| figure.id == id)
            .expect("a known figure")
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut samples = Samples::default();
        for (ours, theirs) in [(10.0, 1.0), (40.0, 8.0), (9.0, 3.0)] {
            samples.note("echo/dspex", json!({ "rate": ours }));
            samples.note("echo/process-pool-executor", json!({ "rate": theirs }));
        }
        let found = figure(&samples, "echo-ppe");
        assert_eq!(found.measured.expect("measured").median, 5.0);
        assert_eq!(found.met, Some(true));
        let lacking = figure(&samples, "echo-mp");
        assert_eq!((lacking.measured, lacking.met), (None, None));
        assert!(
            lacking
                .lacks
                .expect("a reason")
                .contains("multiprocessing-pool")
        );
    }

    #[test]
    fn what_failed_is_told_from_what_was_not_asked_for() {
        let mut samples = Samples::default();
        samples.note("echo/dspex", json!({ "rate": 1.0 }));
        samples.note("echo/loky", json!({ "rate": 1.0 }));
        samples.failed.insert("kills/dspy".into(), "crashed".into());
        let absent = [("together/dspex".to_owned(), "one core".to_owned())];
        let lack = |samples: &Samples, contender, field| {
            let source = Source {
                samples,
                absent: &absent,
            };
            let lack = source.numbers(contender, field).expect_err("no values");
            assert!(lack.why.contains(contender), "{lack:?}");
            lack.failed
        };
        assert!(lack(&samples, "kills/dspy", "failed"));
        assert!(lack(&samples, "echo/dspex", "p50_us"), "it ran");
        assert!(lack(&samples, "echo/gone", "rate"), "nobody left it out");
        assert!(!lack(&samples, "together/dspex", "p50_us"));
        samples.part = true;
        assert!(!lack(&samples, "echo/gone", "rate"), "another part");
        assert!(lack(&samples, "kills/dspy", "failed"));
        let kills = figure(&samples, "kill-failed");
        assert_eq!((kills.met, kills.failed), (None, true));
        assert!(figure(&samples, "uss-used").portable);
    }

    #[test]
    fn a_hundred_kills_make_a_percentile() {
        let mut samples = Samples::default();
        let half: Vec<u32> = (1..=50).collect();
        samples.note("kills/dspy", json!({ "back_ms": half, "failed": 0 }));
        let few = figure(&samples, "kill-p99");
        assert_eq!(few.measured, None);
        assert!(few.lacks.expect("a reason").contains("50 kills"));
        let rest: Vec<u32> = (51..=100).collect();
        samples.note("kills/dspy", json!({ "back_ms": rest, "failed": 1 }));
        let p99 = figure(&samples, "kill-p99").measured.expect("measured");
        assert_eq!((p99.median, p99.min, p99.max), (99.0, 1.0, 100.0));
        let failed = figure(&samples, "kill-failed");
        assert_eq!(
            (failed.measured.expect("measured").median, failed.met),
            (1.0, Some(false))
        );
    }

    #[test]
    fn limits_include_themselves() {
        assert!(Limit::AtLeast(5.0).met(5.0) && !Limit::AtLeast(5.0).met(4.99));
        assert!(Limit::AtMost(1.5).met(1.5) && !Limit::AtMost(1.5).met(1.51));
        assert!(!Limit::AtMost(1.5).met(f64::NAN));
    }
}
