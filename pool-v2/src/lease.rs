//! A place on a worker, and a place in the queue for one.
//!
//! Invariant: both are given back when they are dropped, however they are dropped.

use std::sync::Arc;

use dspex_pool::{PoolError, Worker};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::dispatcher::Dispatcher;

/// Somebody in the queue.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: u64,
    pub(crate) grant: oneshot::Sender<Lease>,
}

/// A place on a worker.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) worker: Arc<Worker>,
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) place: Place,
}

/// Frees its place when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// Taken once the place is free.
    dispatcher: Option<Arc<Dispatcher>>,
    slot: usize,
    generation: u64,
}

impl Place {
    pub(crate) fn new(dispatcher: &Arc<Dispatcher>, slot: usize, generation: u64) -> Self {
        let dispatcher = Some(Arc::clone(dispatcher));
        Self {
            dispatcher,
            slot,
            generation,
        }
    }

    /// Frees the place without serving the queue: the caller does.
    pub(crate) fn give_back_quietly(mut self) {
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.free(self.slot, self.generation);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.free(self.slot, self.generation);
            dispatcher.serve_queue();
        }
    }
}

/// A place in the queue; left when it is dropped.
pub(crate) struct Queued<'a> {
    dispatcher: &'a Arc<Dispatcher>,
    ticket: u64,
    granted: oneshot::Receiver<Lease>,
}

impl<'a> Queued<'a> {
    pub(crate) fn new(
        dispatcher: &'a Arc<Dispatcher>,
        ticket: u64,
        granted: oneshot::Receiver<Lease>,
    ) -> Self {
        Self {
            dispatcher,
            ticket,
            granted,
        }
    }

    pub(crate) async fn wait(mut self, until: Instant) -> Result<Lease, PoolError> {
        match tokio::time::timeout_at(until, &mut self.granted).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_closed)) => Err(PoolError::Draining),
            // It may have been granted in this very moment.
            Err(_) => self
                .granted
                .try_recv()
                .map_err(|_| self.dispatcher.nobody_free()),
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.dispatcher.leave_queue(self.ticket);
    }
}
