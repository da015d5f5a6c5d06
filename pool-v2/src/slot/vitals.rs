//! A worker's memory, and its growth.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Keeper, Resident};
use crate::leak::MemorySeries;

/// How long a measurement is waited for.
const MEASURE_WITHIN: Duration = Duration::from_millis(500);

/// What is remembered of a worker beside its state.
#[derive(Debug)]
pub(super) struct Vitals {
    series: MemorySeries,
}

impl Vitals {
    pub(super) fn new(worker: &str, started: Instant) -> Self {
        Self {
            series: MemorySeries::new(worker, started),
        }
    }
}

impl Keeper {
    /// Measures the worker's memory, where it is time to.
    pub(super) async fn measure(&self, resident: &mut Resident) {
        if !self.shared.switches().enhanced_workers {
            return;
        }
        let config = &self.shared.config.leak;
        if !resident.vitals.series.is_due(config, Instant::now()) {
            return;
        }
        let seated = Arc::clone(&resident.seated);
        // The kernel walks the worker's memory for it: milliseconds, for a large one.
        let measured = tokio::task::spawn_blocking(move || seated.worker.memory());
        // A process that the kernel holds back must not hold back its watch.
        let Ok(Ok(Some(memory))) = tokio::time::timeout(MEASURE_WITHIN, measured).await else {
            return;
        };
        let calls = resident.seated.calls();
        let by_name: Vec<(String, u64)> = calls
            .into_iter()
            .map(|(program, calls)| (program.to_string(), calls))
            .collect();
        let series = &mut resident.vitals.series;
        let named = by_name.iter().map(|(name, calls)| (name.as_str(), *calls));
        series.record(config, Instant::now(), memory.pss, named);
        let watched = self.shared.dispatcher.size();
        let growth = series.growth(config, watched);
        self.shared
            .dispatcher
            .measured(self.slot, resident.generation, memory.pss, growth);
    }
}
