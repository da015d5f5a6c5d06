//! A look at the newest snapshot, for a decision on a busy path.
//!
//! Invariant: to take one, and to let go of it, writes nothing that another thread uses. A handle on
//! the snapshot would: threads that decide at once would take turns at its count.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;

use crate::snapshot::Snapshot;

/// A [`Snapshot`] that is looked at for a moment; see [`Flags::current`](crate::Flags::current).
///
/// Let go of it soon: a thread has only a few of them at once without counting handles. What is kept
/// across an await is better a [`Flags::snapshot`](crate::Flags::snapshot).
pub struct Current(Guard<Arc<Snapshot>>);

impl Current {
    pub(crate) fn new(guard: Guard<Arc<Snapshot>>) -> Self {
        Self(guard)
    }
}

impl Deref for Current {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&**self).finish()
    }
}
