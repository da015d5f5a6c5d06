//! The long-running tasks of a server, each with a name.
//!
//! Invariant: each ends soon after `stop`; one that ends before, or panics, is an error in the log,
//! because nothing else would tell that it is gone.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the server's tasks run, and how they are asked to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    /// What pools run: watchers of processes, restarts.
    pub(crate) tracker: TaskTracker,
    /// The named tasks.
    pub(crate) named: TaskTracker,
    /// Asks the named tasks to end.
    pub(crate) stop: CancellationToken,
}

impl Tasks {
    /// Runs a task that is to end only when it is asked to.
    pub(crate) fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let inner = self.named.spawn(task);
        self.named.spawn(async move {
            match inner.await {
                Ok(()) if stop.is_cancelled() => {}
                Ok(()) => tracing::error!(task = name, "a task ended that was to run on"),
                Err(error) => tracing::error!(task = name, %error, "a task broke"),
            }
        });
    }
}
