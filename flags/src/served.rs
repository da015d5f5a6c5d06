//! What is served: what the store was last seen to hold, and what lies over it until it is written.
//!
//! Invariants: what lies over the store's values only ever lowers them, whatever the store holds by
//! then; it goes away only once the store has taken a write that sets the same flags no higher.

use crate::audit::Write;
use crate::error::FlagError;
use crate::revision::Revision;
use crate::snapshot::Snapshot;
use crate::value::FlagValue;

#[derive(Debug)]
pub(crate) struct Served {
    stored: Snapshot,
    pending: Vec<Write>,
}

impl Served {
    pub(crate) fn new(stored: Snapshot) -> Self {
        Self {
            stored,
            pending: Vec::new(),
        }
    }

    /// What readers get.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let writes = self.pending.iter().flat_map(|write| &write.set);
        self.stored.lowered(writes)
    }

    pub(crate) fn pending(&self) -> &[Write] {
        &self.pending
    }

    /// The store was read. Two reads may overlap: the older one is dropped.
    pub(crate) fn read(&mut self, stored: Snapshot) {
        if stored.revision() >= self.stored.revision() {
            self.stored = stored;
        }
    }

    /// The store has taken a write, and could be read afterwards or not.
    pub(crate) fn wrote(&mut self, write: &Write, revision: Revision, read: bool) {
        if self.stored.revision() < revision {
            self.stored = self.stored.with(write, revision);
        } else if !read {
            // A store that went back takes writes too, and what is served may lack this one.
            return;
        }
        self.pending.retain(|pending| !settles(write, pending));
    }

    /// Lays a write over the store's values.
    pub(crate) fn lower(&mut self, write: Write) -> Result<(), FlagError> {
        let served = self.snapshot();
        for (key, value) in &write.set {
            let now = served.get(key).map_err(FlagError::UnknownFlag)?;
            if !is_no_higher(value, &now) {
                return Err(FlagError::BadWrite {
                    problem: format!(
                        "it raises `{key}` from {now} to {value}; before it is stored, a flag may \
                         only be lowered"
                    ),
                });
            }
        }
        // Asked for again and again, it is still one write.
        self.pending.retain(|pending| !settles(&write, pending));
        self.pending.push(write);
        Ok(())
    }
}

/// Off is lower than on. Values of other kinds are never lowered.
pub(crate) fn lower_of(one: &FlagValue, other: &FlagValue) -> FlagValue {
    match (one, other) {
        (FlagValue::Bool(one), FlagValue::Bool(other)) => FlagValue::Bool(*one && *other),
        (FlagValue::Percent(one), FlagValue::Percent(other)) => FlagValue::Percent(*one.min(other)),
        _ => one.clone(),
    }
}

/// Of values that are neither switches nor shares none is higher than another.
fn is_no_higher(one: &FlagValue, other: &FlagValue) -> bool {
    match (one, other) {
        (FlagValue::Bool(one), FlagValue::Bool(other)) => one <= other,
        (FlagValue::Percent(one), FlagValue::Percent(other)) => one <= other,
        _ => false,
    }
}

/// Whether `write` sets everything that `pending` sets, and nothing of it higher.
fn settles(write: &Write, pending: &Write) -> bool {
    pending.set.iter().all(|(key, value)| {
        let set = write.set.iter().find(|(written, _)| written == key);
        set.is_some_and(|(_, written)| is_no_higher(written, value))
    })
}
