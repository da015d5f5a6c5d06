//! Parts of the pool that the benchmark measures alone. Not part of the API.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dspex_pool::PoolError;
use tokio::time::Instant;

use crate::affinity::{Affinity, AffinityConfig};
use crate::config::Config;
use crate::dispatcher::{Ask, Dispatcher, Handle, Kind};
use crate::lease::Lease;

/// Longer than any measurement.
const LONG: Duration = Duration::from_secs(3600);

/// Sessions and where they are.
#[derive(Debug)]
pub struct Sessions {
    affinity: Affinity,
    slots: usize,
}

impl Sessions {
    /// Remembers `most` sessions, over so many slots.
    #[must_use]
    pub fn new(most: usize, slots: usize) -> Self {
        let config = AffinityConfig {
            max_sessions: most,
            expire_after: LONG,
            ..AffinityConfig::default()
        };
        let affinity = Affinity::new(&config, Instant::now());
        Self { affinity, slots }
    }

    /// Where the session's calls go.
    pub fn look_up(&mut self, session: &str) -> Option<usize> {
        let session = self.affinity.hash(session);
        let slots = self.slots;
        self.affinity
            .slot(session, Instant::now(), |slot| slot < slots, 0..slots)
    }

    /// A call of the session went to its slot.
    pub fn remember(&mut self, session: &str, slot: usize) {
        let session = self.affinity.hash(session);
        self.affinity.granted(session, slot, slot, Instant::now());
    }

    /// How many are known.
    #[must_use]
    pub fn known(&self) -> usize {
        self.affinity.pinned()
    }
}

/// A dispatcher before workers without processes.
#[derive(Debug)]
pub struct Dispatching {
    dispatcher: Arc<Dispatcher<Paper>>,
}

#[derive(Debug)]
struct Paper;

impl Handle for Paper {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn answered(&self) -> u64 {
        0
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<Lease<Paper>, PoolError>> + Send>>;

impl Dispatching {
    /// So many workers, of one call at a time each, and a queue of this length.
    #[must_use]
    pub fn new(workers: usize, queue: usize) -> Self {
        let config = Config {
            concurrency: 1,
            queue_limit: queue,
            queue_wait: LONG,
            ..Config::default()
        };
        let dispatcher = Dispatcher::new("bench", &config);
        for slot in 0..workers {
            dispatcher.want(slot, Kind::Regular);
            dispatcher.starting(slot);
            dispatcher.started(slot, Arc::new(Paper));
        }
        Self { dispatcher }
    }

    /// So many calls ask at once, and each place that comes free goes to the next of them. For a
    /// thread of a runtime with timers.
    ///
    /// # Errors
    /// Where a call is refused.
    pub fn serve(&self, calls: usize) -> Result<(), PoolError> {
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = VecDeque::new();
        let mut leases = VecDeque::new();
        for _ in 0..calls {
            let mut asking = self.ask();
            match asking.as_mut().poll(&mut context) {
                Poll::Ready(lease) => leases.push_back(lease?),
                Poll::Pending => waiting.push_back(asking),
            }
        }
        while let Some(lease) = leases.pop_front() {
            drop(lease);
            if let Some(mut next) = waiting.pop_front()
                && let Poll::Ready(lease) = next.as_mut().poll(&mut context)
            {
                leases.push_back(lease?);
            }
        }
        assert!(waiting.is_empty(), "whoever waits is served in turn");
        Ok(())
    }

    fn ask(&self) -> Asking {
        let dispatcher = Arc::clone(&self.dispatcher);
        // Without the budget of polls that a task has: all of this is one poll of one task.
        Box::pin(tokio::task::unconstrained(async move {
            let ask = Ask {
                session: None,
                caller: None,
                deadline: Instant::now() + LONG,
            };
            dispatcher.lease(ask).await
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_call_is_served() {
        let dispatching = Dispatching::new(3, 100);
        for _ in 0..2 {
            dispatching.serve(100).unwrap();
        }
        let figures = dispatching.dispatcher.figures();
        assert_eq!((figures.leases, figures.queued), (0, 0));
    }

    #[test]
    fn sessions_are_remembered() {
        let mut sessions = Sessions::new(100, 4);
        let slot = sessions.look_up("a").unwrap();
        sessions.remember("a", slot);
        assert_eq!((sessions.look_up("a"), sessions.known()), (Some(slot), 1));
    }
}
