//! Looks in memory: for tests, and for who keeps none.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Keep, Recorded, Recorder};
use crate::error::JournalError;
use crate::id::MigrationId;

/// Looks in memory, the newest of them.
#[derive(Debug, Default)]
pub struct MemoryRecorder {
    keep: Keep,
    rows: Mutex<VecDeque<Recorded>>,
}

impl MemoryRecorder {
    /// Keeps so much.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        let rows = Mutex::default();
        Self { keep, rows }
    }
}

#[async_trait]
impl Recorder for MemoryRecorder {
    fn record(&self, look: Recorded) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let age = i64::try_from(self.keep.age.as_secs()).unwrap_or(i64::MAX);
        let (now, newest) = (look.at.as_second(), look.migration.clone());
        rows.push_back(look);
        rows.retain(|row| now.saturating_sub(row.at.as_second()) <= age);
        while rows.len() as u64 > self.keep.looks {
            let older = rows.iter().position(|row| row.migration != newest);
            let place = older.or_else(|| rows.iter().position(|row| row.watched));
            rows.remove(place.unwrap_or_default());
        }
    }

    async fn looks(
        &self,
        migration: &MigrationId,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Recorded>, JournalError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let theirs = rows.iter().filter(|row| row.migration == *migration);
        Ok(theirs.skip(size(skip)).take(size(limit)).cloned().collect())
    }

    async fn remove(&self, migration: &MigrationId) -> Result<u64, JournalError> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rows.len();
        rows.retain(|row| row.migration != *migration);
        Ok((before - rows.len()) as u64)
    }

    async fn settled(&self) {}

    fn lost(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::recording::conformance;

    #[tokio::test]
    async fn it_conforms() {
        conformance::run(
            |keep| async move { Arc::new(MemoryRecorder::new(keep)) as Arc<dyn Recorder> },
        )
        .await;
    }
}
