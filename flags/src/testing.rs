//! For tests of this crate and of others (feature `testing`): the battery that every [`FlagStore`]
//! passes, and a store that fails on request.

mod battery;
mod faulty;

#[cfg(doc)]
use crate::FlagStore;
pub use battery::conformance;
pub use faulty::FaultyStore;
