//! A place on a worker, and a place in the queue for one.
//!
//! Invariant: both are given back when they are dropped, however they are dropped.

use std::sync::Arc;

use dspex_pool::PoolError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::dispatcher::{Dispatcher, Handle, Ticket};
use crate::limits::Counted;

/// A place on a worker.
#[derive(Debug)]
pub(crate) struct Lease<W: Handle> {
    pub(crate) worker: Arc<W>,
    pub(crate) slot: usize,
    pub(crate) generation: u64,
    pub(crate) place: Place<W>,
}

/// Frees its place when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<W: Handle> {
    /// Taken once the place is free.
    dispatcher: Option<Arc<Dispatcher<W>>>,
    slot: usize,
    generation: u64,
    counted: Counted,
}

impl<W: Handle> Place<W> {
    pub(crate) fn new(
        dispatcher: &Arc<Dispatcher<W>>,
        slot: usize,
        generation: u64,
        counted: Counted,
    ) -> Self {
        Self {
            dispatcher: Some(Arc::clone(dispatcher)),
            slot,
            generation,
            counted,
        }
    }

    /// Frees the place without serving the queue: the caller does.
    pub(crate) fn give_back_quietly(mut self) {
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.free(self.slot, self.generation, self.counted);
        }
    }
}

impl<W: Handle> Drop for Place<W> {
    fn drop(&mut self) {
        if let Some(dispatcher) = self.dispatcher.take()
            && dispatcher.free(self.slot, self.generation, self.counted)
        {
            dispatcher.serve_queue();
        }
    }
}

/// A place in the queue; left when it is dropped.
#[derive(Debug)]
pub(crate) struct Queued<W: Handle> {
    dispatcher: Arc<Dispatcher<W>>,
    ticket: Ticket,
    granted: oneshot::Receiver<Lease<W>>,
}

impl<W: Handle> Queued<W> {
    pub(crate) fn new(
        dispatcher: &Arc<Dispatcher<W>>,
        ticket: Ticket,
        granted: oneshot::Receiver<Lease<W>>,
    ) -> Self {
        Self {
            dispatcher: Arc::clone(dispatcher),
            ticket,
            granted,
        }
    }

    /// The lease, where it was granted already.
    #[cfg(test)]
    pub(crate) fn look(mut self) -> Result<Lease<W>, Self> {
        self.granted.try_recv().map_err(|_| self)
    }

    pub(crate) async fn wait(mut self, until: Instant) -> Result<Lease<W>, PoolError> {
        let began = Instant::now();
        match tokio::time::timeout_at(until, &mut self.granted).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_closed)) => Err(self.dispatcher.sent_away()),
            // It may have been granted in this very moment.
            Err(_) => self
                .granted
                .try_recv()
                .map_err(|_| self.dispatcher.nobody_free(began.elapsed())),
        }
    }
}

impl<W: Handle> Drop for Queued<W> {
    fn drop(&mut self) {
        self.dispatcher.leave_queue(self.ticket);
    }
}
