//! What the dispatcher knows, as figures for the pool's status.

use dspex_pool::WorkerStatus;

use super::{Dispatcher, Slot};

/// Figures for the pool's status.
pub(crate) struct Figures {
    pub(crate) workers: Vec<WorkerStatus>,
    pub(crate) leases: usize,
    pub(crate) queued: usize,
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    pub(crate) draining: bool,
}

impl Dispatcher {
    /// The figures of this moment.
    pub(crate) fn figures(&self) -> Figures {
        let state = self.state();
        let status = |slot: &Slot| WorkerStatus {
            id: slot.id.clone(),
            pid: slot.worker.as_ref().map(|worker| worker.pid()),
            state: slot.state,
            in_flight: slot.leases,
            calls: slot.worker.as_ref().map_or(0, |worker| worker.answered()),
            detail: slot.detail.clone(),
            ..WorkerStatus::default()
        };
        Figures {
            workers: state.slots.iter().map(status).collect(),
            leases: state.leases,
            queued: state.queue.len(),
            starts: state.starts,
            failures: state.failures,
            draining: state.draining,
        }
    }
}
