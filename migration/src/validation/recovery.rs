//! Whether the candidate comes back from faults as fast as stable, and loses nothing to them.
//!
//! Each fault is real: a worker is killed, its wire is broken, a call outstays its deadline, and a pool is
//! given more than it can take. It is done to both pools, in turn, several times, while sessions go on; the
//! medians are compared. A pool is *whole* again when every worker is ready and as many calls at once as
//! there are workers are answered.
//!
//! Invariant: a fault meets a pool that has been whole for [`APART`]. Pools leave time between two starts of
//! one worker, so that a fault right after another would measure that time, and not the recovery.

mod faults;

use std::time::Duration;

use dspex_pool::{SharedPool, WorkerFault};
use tokio::time::Instant;

use self::faults::{Fallen, Loss, exhaustion, lost_worker, outstayed};
use super::confidence::middle;
use super::load::millis;
use super::probe::Probe;
use super::rehearsal::Pair;
use super::report::{Area, Finding, Recoveries};
use super::settings::{Extent, ValidationSettings};
use super::trial::Trial;
use crate::wording;

/// How long a pool is left alone after each fault: longer than the second that V2 leaves between two starts
/// of one slot where its configuration says nothing else.
const APART: Duration = Duration::from_millis(1_500);

/// What is done to the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scenario {
    Crash,
    Wire,
    Timeout,
    Exhaustion,
}

impl Scenario {
    const ALL: [Self; 4] = [Self::Crash, Self::Wire, Self::Timeout, Self::Exhaustion];

    fn name(self) -> &'static str {
        match self {
            Self::Crash => "a worker's crash",
            Self::Wire => "a broken wire",
            Self::Timeout => "a call past its deadline",
            Self::Exhaustion => "more calls than it can take",
        }
    }
}

/// What one pool did in one scenario, over its repetitions.
#[derive(Default)]
struct Seen {
    /// How long each recovery took, in milliseconds; none where it did not come to pass.
    recovered: Vec<Option<f64>>,
    loss: Loss,
    /// Why a repetition could not be made, or did not come to its end.
    trouble: Option<String>,
}

impl Seen {
    fn note(&mut self, fallen: Fallen) {
        self.recovered.push(fallen.recovered.map(millis));
        self.loss.add(fallen.loss);
        self.trouble = self.trouble.take().or(fallen.trouble);
    }

    /// The median, where every repetition came to its end.
    fn median(&self) -> Option<f64> {
        let mut all = self.recovered.iter().copied().collect::<Option<Vec<_>>>()?;
        all.sort_by(f64::total_cmp);
        Some(middle(&all)).filter(|median| median.is_finite() && self.trouble.is_none())
    }

    fn told(&self) -> String {
        match (self.median(), &self.trouble) {
            (Some(median), _) => format!("{median:.0} ms"),
            (None, Some(trouble)) => format!("not recovered ({trouble})"),
            (None, None) => "not recovered".to_owned(),
        }
    }
}

/// Does every fault to both, and finds.
pub(super) async fn recovery(
    pair: &Pair,
    probe: &Probe,
    settings: &ValidationSettings,
    extent: Extent,
    trial: &mut Trial<'_>,
) -> Vec<Recoveries> {
    let mut all = Vec::new();
    let mut broken = [None, None];
    let mut whole_since = [None::<Instant>; 2];
    for scenario in Scenario::ALL {
        trial.begins(scenario.name());
        let mut seen = [Seen::default(), Seen::default()];
        for _ in 0..settings.load(extent).faults {
            for (side, pool) in [&pair.stable, &pair.candidate].into_iter().enumerate() {
                // A pool that has not come back is not tried again: it would only be waited for.
                if let Some(before) = &broken[side] {
                    seen[side].trouble.get_or_insert_with(|| {
                        format!("not tried: it did not recover from {before}")
                    });
                    continue;
                }
                if let Some(since) = whole_since[side] {
                    tokio::time::sleep_until(since + APART).await;
                }
                let fallen = fall(scenario, pool, probe, settings, extent).await;
                if fallen.recovered.is_none() {
                    broken[side] = Some(scenario.name());
                }
                whole_since[side] = Some(Instant::now());
                seen[side].note(fallen);
            }
        }
        let [stable, candidate] = seen;
        trial.found(in_time(scenario, &stable, &candidate, settings));
        trial.found(nothing_lost(scenario, &candidate));
        all.push(Recoveries {
            fault: scenario.name().to_owned(),
            stable_ms: stable.recovered,
            candidate_ms: candidate.recovered,
        });
    }
    all
}

async fn fall(
    scenario: Scenario,
    pool: &SharedPool,
    probe: &Probe,
    settings: &ValidationSettings,
    extent: Extent,
) -> Fallen {
    let patience = settings.patience;
    match scenario {
        Scenario::Crash => lost_worker(pool, probe, WorkerFault::Crash, patience).await,
        Scenario::Wire => lost_worker(pool, probe, WorkerFault::Wire, patience).await,
        Scenario::Timeout => outstayed(pool, probe, patience).await,
        Scenario::Exhaustion => {
            exhaustion(pool, probe, settings.load(extent).burst, patience).await
        }
    }
}

fn in_time(
    scenario: Scenario,
    stable: &Seen,
    candidate: &Seen,
    settings: &ValidationSettings,
) -> Finding {
    let limit = longest(stable.median(), settings);
    let ok = candidate
        .median()
        .is_some_and(|median| median <= millis(limit));
    let value = format!(
        "{} against stable's {}, median of {}",
        candidate.told(),
        stable.told(),
        candidate.recovered.len()
    );
    let name = format!("recovers from {}", scenario.name());
    let limit = format!("at most {}", wording::latency(limit));
    Finding::new(Area::Recovery, name, ok, value, limit).hint((!ok).then_some(
        "look at the pool's log for what keeps its workers from starting; pool V2's fork server \
         (the flag enhanced_workers) starts them in milliseconds",
    ))
}

/// How long a recovery may take: the absolute limit always suffices, and being no worse than stable does.
fn longest(stable: Option<f64>, settings: &ValidationSettings) -> Duration {
    let tolerance = 1.0 + wording::fraction(settings.tolerance);
    let as_stable =
        stable.and_then(|ms| Duration::try_from_secs_f64(ms * tolerance / 1_000.0).ok());
    as_stable.map_or(settings.recovery_limit, |limit| {
        settings.recovery_limit.max(limit + settings.recovery_floor)
    })
}

fn nothing_lost(scenario: Scenario, candidate: &Seen) -> Finding {
    let loss = &candidate.loss;
    let ok = loss.lost.is_empty() && loss.answered > 0 && candidate.trouble.is_none();
    let trouble = match (loss.lost.first(), &candidate.trouble) {
        (Some(first), _) => format!("; {} lost, first: {first}", loss.lost.len()),
        (None, Some(trouble)) => format!("; {trouble}"),
        (None, None) => String::new(),
    };
    let value = format!(
        "{} calls answered, {} told that they failed{trouble}",
        loss.answered, loss.told
    );
    let name = format!("loses nothing to {}", scenario.name());
    let limit = "every call answered rightly or told, every session's state kept";
    Finding::new(Area::Recovery, name, ok, value, limit).hint(
        (!ok).then_some("a caller would wait for an answer that does not come, or get a wrong one"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_no_worse_than_stable_suffices_and_so_does_the_limit() {
        let settings = ValidationSettings::default();
        let ms = |stable| longest(stable, &settings).as_millis();
        assert_eq!(ms(None), 500, "stable did not recover");
        assert_eq!(ms(Some(10.0)), 500);
        assert_eq!(ms(Some(1_000.0)), 1_350);
    }

    #[test]
    fn one_recovery_that_did_not_come_to_pass_leaves_no_median() {
        let seen = |recovered| Seen {
            recovered,
            ..Seen::default()
        };
        assert_eq!(
            seen(vec![Some(3.0), Some(1.0), Some(2.0)]).median(),
            Some(2.0)
        );
        assert_eq!(seen(vec![Some(1.0), None]).median(), None);
        assert_eq!(seen(Vec::new()).median(), None);
    }

    #[test]
    fn where_no_call_was_answered_nothing_is_known() {
        assert!(!nothing_lost(Scenario::Crash, &Seen::default()).check.ok);
    }
}
