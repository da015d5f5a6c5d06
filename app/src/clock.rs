//! The wall clock of this crate, so that everything else takes `now`.

use jiff::Timestamp;

/// The wall time.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads the wall clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
