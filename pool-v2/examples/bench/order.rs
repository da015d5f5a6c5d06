//! What xtask orders: one measurement, with everything that it depends on.

use std::path::PathBuf;

use serde::Deserialize;

/// One run of this program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The workers' interpreter.
    pub(crate) python: PathBuf,
    /// The folder of `bench_programs.py` and `echo_loop.py`.
    pub(crate) programs: PathBuf,
    /// A folder with another `dspex_worker` to measure, in place of the one that is built in.
    #[serde(default)]
    pub(crate) package: Option<PathBuf>,
    /// On which cores; everywhere where there is none.
    #[serde(default)]
    pub(crate) placement: Option<Placement>,
    pub(crate) measure: Measure,
}

/// The cores, by number, to which both sides are bound.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Placement {
    /// This process.
    pub(crate) client: usize,
    /// The workers.
    pub(crate) workers: usize,
}

/// What to measure.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// Echo calls through the pool.
    Echo(Load),
    /// The same frames to loops without a pool.
    Bare(Load),
    /// Calls that wait as for a language model.
    Waiting(Waiting),
    /// How soon the slot of a killed worker serves again.
    Kills(Kills),
    /// Start and own memory of workers with DSPy.
    Memory(Memory),
    /// How soon workers with DSPy are ready that a warm fork server forks.
    Forks(Forks),
    /// What a call costs this process while many are queued.
    Dispatch(Dispatch),
    /// What a session costs that is remembered.
    Sessions(Sessions),
}

/// A closed loop of echo calls.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    pub(crate) workers: usize,
    /// Calls in flight over all workers.
    pub(crate) in_flight: usize,
    /// How long it is measured; a quarter of it goes before as a warm-up.
    pub(crate) seconds: f64,
    /// The length of the text that is echoed.
    pub(crate) bytes: usize,
}

/// Callers that each make some calls, one after the other.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiting {
    pub(crate) workers: usize,
    pub(crate) concurrency: usize,
    /// Calls that each caller makes; there is one caller for each place.
    pub(crate) calls: u32,
    /// How long each call waits in the program.
    pub(crate) seconds: f64,
}

/// Workers killed one after the other, under calls.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kills {
    pub(crate) workers: usize,
    pub(crate) kills: usize,
    /// Whether workers hold DSPy, imported before they are ready.
    pub(crate) dspy: bool,
}

/// Workers with DSPy imported.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Memory {
    pub(crate) workers: usize,
    /// `dspy.Predict` calls that each worker runs before it is looked at again.
    pub(crate) predicts: u32,
}

/// Workers forked at once, so many times.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forks {
    pub(crate) workers: usize,
    pub(crate) repeats: usize,
}

/// So many sessions, all known at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessions {
    pub(crate) sessions: usize,
}

/// Many calls at once to workers that cost next to nothing.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dispatch {
    pub(crate) workers: usize,
    pub(crate) calls: usize,
    pub(crate) repeats: usize,
}
