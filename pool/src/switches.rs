//! What can be turned on and off while a pool runs; a kind of pool heeds what it knows.

use serde::Serialize;
use tokio::sync::watch::{self, Receiver};

/// A pool's switches. The app sets them by the flags of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// Workers come from a warm fork server, sessions stay near their worker, workers are recycled
    /// and their memory is watched. Off, workers are plain processes and nothing of that is done.
    pub enhanced_workers: bool,
    /// The pool changes its own size with the load. Off, it has the size of its configuration.
    pub pool_optimizer: bool,
    /// A crash loop opens the circuit of the workers' starts, and calls that no worker can answer
    /// are refused at once. Off, starts are only spaced out.
    pub circuit_breaker: bool,
}

impl Switches {
    /// Switches that nobody will ever move.
    #[must_use]
    pub fn unchanging(self) -> Receiver<Self> {
        watch::channel(self).1
    }
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            enhanced_workers: true,
            pool_optimizer: false,
            circuit_breaker: true,
        }
    }
}
