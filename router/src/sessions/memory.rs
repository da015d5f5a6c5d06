//! Session states kept in memory: for tests, and for servers that may forget.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use dspex_pool::ProgramKey;
use jiff::Timestamp;

use super::{Saved, SessionError, SessionKey, SessionStore, SessionTotals};

/// A store that ends with the process.
#[derive(Debug, Default)]
pub struct MemorySessions {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// Each state with the number of its last write: two writes may fall into one millisecond.
    states: HashMap<SessionKey, (Saved, u64)>,
    by_use: BTreeSet<(Timestamp, u64, u64, std::sync::Arc<str>)>,
    writes: u64,
    bytes: u64,
}

impl Rows {
    fn remove(&mut self, key: &SessionKey) -> bool {
        let Some((saved, write)) = self.states.remove(key) else {
            return false;
        };
        self.bytes -= saved.state.as_json().get().len() as u64;
        self.by_use
            .remove(&(saved.used_at, write, key.version, key.session.clone()));
        true
    }

    fn remove_all(&mut self, of: impl Fn(&SessionKey, &Saved) -> bool) -> u64 {
        let gone: Vec<_> = self
            .states
            .iter()
            .filter(|(key, (saved, _))| of(key, saved))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            self.remove(key);
        }
        gone.len() as u64
    }
}

impl MemorySessions {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing below can panic between two halves of a change.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn get(&self, key: &SessionKey) -> Result<Option<Saved>, SessionError> {
        Ok(self.rows().states.get(key).map(|(saved, _)| saved.clone()))
    }

    async fn put(
        &self,
        key: &SessionKey,
        saved: &Saved,
        keep: u64,
    ) -> Result<Vec<SessionKey>, SessionError> {
        let mut rows = self.rows();
        rows.remove(key);
        rows.writes += 1;
        rows.bytes += saved.state.as_json().get().len() as u64;
        let write = rows.writes;
        rows.by_use
            .insert((saved.used_at, write, key.version, key.session.clone()));
        rows.states.insert(key.clone(), (saved.clone(), write));
        let mut dropped = Vec::new();
        while rows.states.len() as u64 > keep.max(1) {
            let oldest = rows
                .by_use
                .iter()
                .map(|(_, _, version, session)| SessionKey {
                    version: *version,
                    session: session.clone(),
                })
                .find(|oldest| oldest != key);
            let Some(oldest) = oldest else { break };
            rows.remove(&oldest);
            dropped.push(oldest);
        }
        Ok(dropped)
    }

    async fn forget(&self, program: &ProgramKey) -> Result<u64, SessionError> {
        Ok(self
            .rows()
            .remove_all(|key, _| key.version == program.version))
    }

    async fn sweep(&self, before: Timestamp) -> Result<u64, SessionError> {
        Ok(self.rows().remove_all(|_, saved| saved.used_at < before))
    }

    async fn totals(&self) -> Result<SessionTotals, SessionError> {
        let rows = self.rows();
        Ok(SessionTotals {
            sessions: rows.states.len() as u64,
            bytes: rows.bytes,
        })
    }
}
