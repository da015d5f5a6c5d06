//! The one place of this crate that reads wall time.

/// Now, as it is written into the catalog.
pub(crate) fn wall() -> jiff::Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file owns the reading of wall time"
    )]
    jiff::Timestamp::now()
}
