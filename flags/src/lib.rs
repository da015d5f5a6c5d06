//! Typed feature flags with percentage rollout by stable hash, revisions and acknowledgement.
//!
//! A decision is made in process from an immutable [`Snapshot`], without lock or await. A change is
//! a [`Write`] with a who and a why; it makes a new [`Revision`] in a [`FlagStore`], is published to
//! every [`Subscriber`], and counts as in effect only once each of them has acknowledged it.
//!
//! Modules in reading order:
//!
//! 1. [`Percent`], [`Revision`]: the two newtypes everything else speaks in.
//! 2. [`Flag`], [`FlagValue`], [`Declaration`]: what a flag is, declared in one place.
//! 3. [`Bucket`], [`bucket`]: a key's fixed place in the rollout of one flag.
//! 4. [`Snapshot`]: all values at one revision, and the decisions made from them.
//! 5. [`Write`], [`Change`]: what is asked for, and what the audit keeps of it.
//! 6. [`FlagStore`], [`MemoryStore`], [`SqliteStore`]: where the values live.
//! 7. [`Subscriber`]: seeing each revision, and acknowledging it.
//! 8. [`Flags`]: the live handle that ties these together.
//! 9. [`dspex`]: the flags of dspex itself.

mod audit;
mod clock;
mod declared;
pub mod dspex;
mod error;
mod flag;
mod flags;
mod percent;
mod revision;
mod rollout;
mod served;
mod snapshot;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod watch;

pub use audit::{Change, Write};
pub use error::{FlagError, PercentError, UnknownFlag};
pub use flag::{Declaration, Flag, FlagType, FlagValue, Kind};
pub use flags::Flags;
pub use percent::Percent;
pub use revision::Revision;
pub use rollout::{Bucket, HASH_VERSION, bucket};
pub use snapshot::Snapshot;
pub use store::{FlagStore, MemoryStore, SqliteStore, Stored, StoredValue};
pub use watch::Subscriber;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
