//! A store that fails on request: what stands in for a database that is gone, corrupt or replaced.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::audit::{Change, Write};
use crate::error::FlagError;
use crate::revision::Revision;
use crate::store::{FlagStore, MemoryStore, Stored};

/// A [`MemoryStore`] whose reads and writes can be made to fail.
#[derive(Debug, Default)]
pub struct FaultyStore {
    inner: Mutex<Arc<MemoryStore>>,
    reads_fail: AtomicBool,
    writes_fail: AtomicBool,
    writes_wait: AtomicBool,
    writes_hang: AtomicBool,
    history_hangs: AtomicBool,
}

impl FaultyStore {
    /// An empty store in which nothing fails yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether loading, polling and the history fail from now on.
    pub fn fail_reads(&self, fail: bool) {
        self.reads_fail.store(fail, Ordering::SeqCst);
    }

    /// Whether writes fail from now on, without writing.
    pub fn fail_writes(&self, fail: bool) {
        self.writes_fail.store(fail, Ordering::SeqCst);
    }

    /// Whether writes wait, from now on until this is taken back, before they write anything.
    pub fn wait_before_writes(&self, wait: bool) {
        self.writes_wait.store(wait, Ordering::SeqCst);
    }

    /// Whether writes, from now on, write and then never return.
    pub fn hang_after_writes(&self, hang: bool) {
        self.writes_hang.store(hang, Ordering::SeqCst);
    }

    /// Whether the history, from now on, never answers.
    pub fn hang_history(&self, hang: bool) {
        self.history_hangs.store(hang, Ordering::SeqCst);
    }

    /// Loses everything, as when the database is replaced by an old backup.
    pub fn lose_everything(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    fn inner(&self) -> Arc<MemoryStore> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn check_reads(&self) -> Result<(), FlagError> {
        match self.reads_fail.load(Ordering::SeqCst) {
            true => Err(FlagError::store("reading", "reads fail on request")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl FlagStore for FaultyStore {
    async fn load(&self) -> Result<Stored, FlagError> {
        self.check_reads()?;
        self.inner().load().await
    }

    async fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError> {
        if self.writes_fail.load(Ordering::SeqCst) {
            return Err(FlagError::store("writing", "writes fail on request"));
        }
        while self.writes_wait.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let written = self.inner().write(write, at).await;
        if self.writes_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        written
    }

    async fn revision(&self) -> Result<Revision, FlagError> {
        self.check_reads()?;
        self.inner().revision().await
    }

    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        self.check_reads()?;
        if self.history_hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.inner().history(limit).await
    }
}
