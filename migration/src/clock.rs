//! Where this crate reads the wall clock, and nowhere else.
//!
//! Invariant: wall time only labels what is written down. What a stage is credited with is measured
//! on tokio's monotonic clock, so a wall clock that jumps an hour moves nothing.

use jiff::Timestamp;

/// The wall clock now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads wall time"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
