//! The atomics and the lock that the lock-free parts are built from.
//!
//! A file of its own so that `tests/model` can compile those parts with loom's types in place of
//! these, and with a ring small enough to look at every order in which threads may run.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Into how many buckets the span of a time window is cut.
pub(crate) const BUCKETS: usize = 10;
