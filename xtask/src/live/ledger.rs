//! What the callers saw: one entry for each call, and figures over them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which pool answered, as the answer's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Stable,
    Candidate,
}

impl Lane {
    /// Reads the header `X-Dspex-Lane`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        match text {
            "stable" => Some(Self::Stable),
            "candidate" => Some(Self::Candidate),
            _ => None,
        }
    }
}

/// How a call failed, as its caller can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Nobody listened: the call was never sent.
    Unreachable,
    /// The connection ended under the call.
    Cut,
    /// 429 or 503, with the time after which to come back.
    Refused,
    /// Any other answer than 200.
    Error,
    /// 200, and not the answer that the question has.
    Wrong,
}

/// Why a call counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The short name of the problem that the server told.
    pub(crate) problem: Option<String>,
    pub(crate) text: String,
}

impl Failure {
    /// Without a problem's name.
    pub(crate) fn of(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            problem: None,
            text: text.into(),
        }
    }
}

/// One call as its caller saw it. Times count from the act's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) session: usize,
    pub(crate) program: &'static str,
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    /// Who answered; nobody, where the call failed before a lane was chosen.
    pub(crate) lane: Option<Lane>,
    /// The candidate could not answer, and stable did.
    pub(crate) failed_over: bool,
    pub(crate) failure: Option<Failure>,
    /// The worker that answered.
    pub(crate) worker: Option<String>,
    /// How often the caller sent it, or tried to.
    pub(crate) attempts: u32,
}

impl Sample {
    /// The side that the call was routed to, wherever the answer came from in the end.
    pub(crate) fn side(&self) -> Option<Lane> {
        if self.failed_over {
            Some(Lane::Candidate)
        } else {
            self.lane
        }
    }
}

/// All samples of one act, shared by its sessions.
#[derive(Debug)]
pub(crate) struct Ledger {
    epoch: Instant,
    samples: Mutex<Vec<Sample>>,
}

impl Ledger {
    /// An empty ledger; the act begins now.
    pub(crate) fn begin() -> Self {
        Self {
            epoch: Instant::now(),
            samples: Mutex::default(),
        }
    }

    /// Time since the act began.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Adds one call.
    pub(crate) fn record(&self, sample: Sample) {
        self.samples().push(sample);
    }

    /// The samples so far. Sessions wait while the guard is held.
    pub(crate) fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls of one lane over some time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// Calls that stable answered in the candidate's stead.
    pub(crate) failed_over: usize,
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
}

impl Figures {
    /// Figures of the calls that this lane answered.
    pub(crate) fn of<'a>(lane: Lane, samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut figures = Self::default();
        let mut latencies = Vec::new();
        for sample in samples.into_iter().filter(|s| s.lane == Some(lane)) {
            figures.calls += 1;
            figures.failed += usize::from(sample.failure.is_some());
            figures.failed_over += usize::from(sample.failed_over);
            latencies.push(sample.ended.saturating_sub(sample.started));
        }
        latencies.sort_unstable();
        figures.p50 = quantile(&latencies, 50);
        figures.p99 = quantile(&latencies, 99);
        figures
    }
}

/// The nearest-rank percentile of sorted values.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The candidate's share of answered calls, in percent.
pub(crate) fn share(stable: usize, candidate: usize) -> f64 {
    let all = stable + candidate;
    if all == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a demo fit a float")]
    let share = 100.0 * candidate as f64 / all as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(lane: Lane, millis: u64) -> Sample {
        Sample {
            session: 0,
            program: "answer",
            started: Duration::from_secs(1),
            ended: Duration::from_secs(1) + Duration::from_millis(millis),
            lane: Some(lane),
            failed_over: false,
            failure: None,
            worker: None,
            attempts: 1,
        }
    }

    #[test]
    fn figures_count_only_their_lane() {
        let mut samples: Vec<Sample> = (1..=100).map(|ms| sample(Lane::Stable, ms)).collect();
        samples.push(sample(Lane::Candidate, 7));
        samples[3].failure = Some(Failure::of(Kind::Error, "503"));
        samples[4].failed_over = true;
        let stable = Figures::of(Lane::Stable, &samples);
        assert_eq!(
            (stable.calls, stable.failed, stable.failed_over),
            (100, 1, 1)
        );
        assert_eq!(stable.p50, Some(Duration::from_millis(50)));
        assert_eq!(stable.p99, Some(Duration::from_millis(99)));
        let candidate = Figures::of(Lane::Candidate, &samples);
        assert_eq!(candidate.p99, Some(Duration::from_millis(7)));
        assert_eq!(Figures::of(Lane::Candidate, &[]).p50, None);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert!(share(0, 0).abs() < f64::EPSILON);
        assert!((share(3, 1) - 25.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_call_that_stable_took_over_was_routed_to_the_candidate() {
        let mut taken = sample(Lane::Stable, 1);
        taken.failed_over = true;
        assert_eq!(taken.side(), Some(Lane::Candidate));
        assert_eq!(Lane::read("candidate"), Some(Lane::Candidate));
        assert_eq!(Lane::read("other"), None);
    }
}
