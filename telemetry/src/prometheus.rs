//! Figures for a Prometheus scraper. Rendering only: who serves the text over HTTP is the app's
//! concern, and so is the task that runs the upkeep.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio_util::sync::CancellationToken;

use crate::PrometheusError;

/// The upper edges of histogram buckets, in seconds: finer than a millisecond because a pool's
/// overhead is, up to two minutes because a language model's answers are.
const BUCKETS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 120.0,
];

/// A metrics recorder that renders Prometheus text. A clone is another handle on the same one.
///
/// Works without being installed: hand it to [`Telemetry::with_prometheus`] and [`Gauges::on`].
/// Installing it makes it the one that the `metrics` macros of this process write to.
///
/// [`Telemetry::with_prometheus`]: crate::Telemetry::with_prometheus
/// [`Gauges::on`]: crate::Gauges::on
#[derive(Clone)]
pub struct Prometheus {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl Prometheus {
    /// A recorder of its own, not installed.
    ///
    /// # Errors
    ///
    /// When the exporter refuses the bucket edges.
    pub fn new() -> Result<Self, PrometheusError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)?
            .build_recorder();
        let handle = recorder.handle();
        Ok(Self {
            recorder: Arc::new(recorder),
            handle,
        })
    }

    /// Makes this the recorder of the process.
    ///
    /// # Errors
    ///
    /// When the process has one already; it stays.
    pub fn install(&self) -> Result<(), PrometheusError> {
        metrics::set_global_recorder(Arc::clone(&self.recorder))
            .map_err(|_| PrometheusError::AlreadyInstalled)
    }

    /// All figures as Prometheus text, format version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves what histograms have collected into their buckets. Without it, or a scrape, every
    /// observation is kept: call it every few seconds.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Runs the upkeep every `interval` until `stop`. The future is the caller's to spawn.
    pub async fn upkeep(self, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.run_upkeep(),
            }
        }
    }

    pub(crate) fn recorder(&self) -> &PrometheusRecorder {
        &self.recorder
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

/// Makes a recorder and installs it.
///
/// # Errors
///
/// As [`Prometheus::new`] and [`Prometheus::install`].
pub fn install_prometheus() -> Result<Prometheus, PrometheusError> {
    let prometheus = Prometheus::new()?;
    prometheus.install()?;
    Ok(prometheus)
}
