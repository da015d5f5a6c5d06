//! A pool that answers at once, and the end of a future that never waits: what is left of a call's time is
//! the router's.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use dspex_flags::Flags;
use dspex_pool::{Call, Drained, Pool, PoolError, PoolStatus, Program, ProgramKey, Reply};
use dspex_router::{Catalog, MemorySessions, Router, RouterConfig, RouterParts};
use dspex_telemetry::Telemetry;
use serde_json::Map;

/// Answers at once, with nothing, and allocates nothing.
struct Ready {
    worker: Arc<str>,
}

#[async_trait]
impl Pool for Ready {
    async fn execute(&self, call: Call) -> Result<Reply, PoolError> {
        drop(call);
        Ok(Reply {
            outputs: Map::new(),
            program_time: Some(Duration::ZERO),
            worker: Arc::clone(&self.worker),
            state: None,
            usage: None,
        })
    }

    async fn check(&self, _: &Program) -> Result<(), PoolError> {
        Ok(())
    }

    async fn forget(&self, _: &ProgramKey) {}

    fn status(&self) -> PoolStatus {
        PoolStatus {
            ready: 1,
            ..PoolStatus::default()
        }
    }

    async fn drain(&self, _: Duration) -> Drained {
        Drained {
            finished: 0,
            abandoned: 0,
        }
    }
}

/// The pool.
pub(crate) fn pool() -> Arc<dyn Pool> {
    Arc::new(Ready {
        worker: "w-0".into(),
    })
}

/// A router before it, with these flags and this catalog.
pub(crate) fn router(flags: Arc<Flags>, catalog: Arc<dyn Catalog>) -> Arc<Router> {
    Router::new(RouterParts {
        stable: pool(),
        flags,
        telemetry: Telemetry::new(dspex_telemetry::Config::default()),
        catalog,
        sessions: Arc::new(MemorySessions::new()),
        config: RouterConfig::default(),
        tracker: tokio_util::task::TaskTracker::new(),
    })
    .expect("the defaults are valid")
}

/// The end of a future that never waits.
pub(crate) fn now_or_never<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}
