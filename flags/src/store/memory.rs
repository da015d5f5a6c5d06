//! A store that lives as long as the process: for tests, and for trying things out.

use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{FlagStore, Stored, StoredValue};
use crate::audit::{Change, Write};
use crate::error::FlagError;
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;

/// A [`FlagStore`] in memory. Its history is kept whole: it is not for a process that writes for ever.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    stored: Stored,
    changes: Vec<Change>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Nothing under this lock can panic half-way: a poisoned one still holds a whole state.
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl FlagStore for MemoryStore {
    async fn load(&self) -> Result<Stored, FlagError> {
        Ok(self.kept().stored.clone())
    }

    async fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError> {
        write.check()?;
        let mut kept = self.kept();
        write.check_expected(kept.stored.revision)?;
        let revision = kept.stored.revision.next();
        kept.stored.revision = revision;
        for (key, value) in &write.set {
            let stored = StoredValue {
                value: value.clone(),
                revision,
                hash_version: HASH_VERSION,
            };
            let before = kept.stored.values.insert(key.clone(), stored);
            kept.changes.push(Change {
                revision,
                key: key.clone(),
                before: before.map(|before| before.value),
                after: value.clone(),
                who: write.who.clone(),
                why: write.why.clone(),
                at,
                hash_version: HASH_VERSION,
            });
        }
        Ok(revision)
    }

    async fn revision(&self) -> Result<Revision, FlagError> {
        Ok(self.kept().stored.revision)
    }

    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        Ok(self
            .kept()
            .changes
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::conformance;

    #[tokio::test]
    async fn passes_the_battery() {
        conformance(|| async { Arc::new(MemoryStore::new()) as Arc<dyn FlagStore> }).await;
    }
}
