//! Typed feature flags with percentage rollout by stable hash, revisions and acknowledgement.
//!
//! A decision is made in process from an immutable [`Snapshot`], without lock or await. A change is
//! a [`Write`] with a who and a why; it makes a new [`Revision`] in a [`FlagStore`], is published to
//! every [`Subscriber`], and counts as in effect in this process only once each of them has acknowledged
//! it. Other processes that share the store read it by themselves, and nobody waits for them.
//!
//! Modules in reading order:
//!
//! 1. [`Percent`], [`Revision`]: the two newtypes everything else speaks in.
//! 2. [`FlagValue`], [`Kind`]: what a flag can be.
//! 3. [`Flag`], [`Declaration`]: a typed handle, declared in one place.
//! 4. [`Layers`]: what lies under the store.
//! 5. [`Bucket`], [`bucket`]: a key's fixed place in the rollout of one flag.
//! 6. [`Rules`], [`Variant`]: kill switch, prerequisites, lists and variants.
//! 7. [`Snapshot`], [`Explanation`]: all values at one revision, and the decisions made from them.
//! 8. [`Write`], [`Change`]: what is asked for, and what the audit keeps of it.
//! 9. [`FlagStore`], [`MemoryStore`], [`FileStore`], [`SqlStore`]: where the values live.
//! 10. [`Subscriber`]: seeing each revision, and acknowledging it.
//! 11. [`Flags`], [`Current`]: the live handle that ties these together, and a look at it.
//! 12. [`flagd`]: export and import, so that flagd evaluates the same.
//! 13. [`dspex`]: the flags of dspex itself.

mod audit;
mod clock;
mod current;
mod decision;
mod declared;
pub mod dspex;
mod error;
mod explain;
mod flag;
pub mod flagd;
mod flags;
mod layers;
mod murmur;
mod percent;
mod prerequisites;
mod revision;
mod rollout;
mod rules;
mod served;
mod snapshot;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod value;
mod watch;

pub use audit::{Change, Write};
pub use current::Current;
pub use error::{FlagError, PercentError, UnknownFlag};
pub use explain::{Explanation, Reason};
pub use flag::{Declaration, Flag, FlagType};
pub use flags::Flags;
pub use layers::{Layer, Layers};
pub use percent::Percent;
pub use revision::Revision;
pub use rollout::{Bucket, HASH_VERSION, bucket};
pub use rules::{Rules, Variant, rules_key};
pub use snapshot::Snapshot;
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
pub use store::{
    Dialect, FileStore, FlagStore, MemoryStore, SqlStore, SqliteStore, Stored, StoredValue,
};
pub use value::{FlagValue, Kind, Object};
pub use watch::{Observer, Subscriber};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
