//! How far somebody has taken calls: [`Telemetry::take`](crate::Telemetry::take).

use tokio::time::Instant;

use crate::ring::Merged;

/// A place between two calls of each lane.
#[derive(Debug)]
pub struct Cursor {
    /// The slot of the last take, which may get more calls.
    pub(crate) slot: u64,
    /// When that was.
    pub(crate) at: Instant,
    /// What that slot held then, by lane.
    pub(crate) taken: [Merged; 2],
}
