//! For tests of this crate and of others (feature `testing`): the battery that every [`FlagStore`]
//! passes, a store that fails on request, and, with the feature `postgres`, a server for a test.

mod battery;
mod faulty;
#[cfg(feature = "postgres")]
mod postgres;

#[cfg(doc)]
use crate::FlagStore;
pub use battery::conformance;
pub use faulty::FaultyStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresServer;
