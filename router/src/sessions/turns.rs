//! One call of a session at a time.
//!
//! Invariants: calls of one key have their turns in the order in which they came; a key takes memory
//! only while calls of it run or wait; a call that leaves, waiting or running, frees its place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SessionKey;

/// Who runs and who waits, by key.
#[derive(Debug)]
pub(crate) struct Turns {
    keys: Arc<Keys>,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct Keys(Mutex<HashMap<SessionKey, Line>>);

/// The calls of one key.
#[derive(Debug)]
struct Line {
    turn: Arc<Semaphore>,
    calls: usize,
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Line>> {
        // Each change is one step, so a poisoned lock guards nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that has come. The next one comes when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    place: Place,
}

impl Turn {
    pub(crate) fn key(&self) -> &SessionKey {
        &self.place.key
    }
}

/// A place in the line, waiting or running.
#[derive(Debug)]
struct Place {
    key: SessionKey,
    keys: Arc<Keys>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keys = self.keys.lock();
        if let Some(line) = keys.get_mut(&self.key) {
            line.calls -= 1;
            if line.calls == 0 {
                keys.remove(&self.key);
            }
        }
    }
}

/// The line of this key is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// Calls that wait already.
    pub(crate) waiting: usize,
}

impl Turns {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self {
            keys: Arc::default(),
            max_waiting,
        }
    }

    /// Waits for this key's turn. Dropping the future leaves the line.
    pub(crate) async fn take(&self, key: SessionKey) -> Result<Turn, Full> {
        let (turn, place) = {
            let mut keys = self.keys.lock();
            let line = keys.entry(key.clone()).or_insert_with(|| Line {
                turn: Arc::new(Semaphore::new(1)),
                calls: 0,
            });
            // One runs, the others wait.
            if line.calls > self.max_waiting {
                return Err(Full {
                    waiting: line.calls - 1,
                });
            }
            line.calls += 1;
            let keys = Arc::clone(&self.keys);
            (Arc::clone(&line.turn), Place { key, keys })
        };
        // tokio's semaphores are fair: first come, first served.
        let Ok(permit) = turn.acquire_owned().await else {
            unreachable!("nobody closes the semaphore");
        };
        Ok(Turn {
            _permit: permit,
            place,
        })
    }

    #[cfg(test)]
    fn known(&self) -> usize {
        self.keys.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn key(session: &str) -> SessionKey {
        SessionKey {
            version: 1,
            session: session.into(),
        }
    }

    #[tokio::test]
    async fn turns_come_in_order_and_one_at_a_time() {
        let turns = Turns::new(8);
        let first = turns.take(key("s")).await.unwrap();
        let mut second = Box::pin(turns.take(key("s")));
        let mut third = Box::pin(turns.take(key("s")));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(
            turns.take(key("other")).now_or_never().is_some(),
            "another session does not wait"
        );
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.await.unwrap();
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        drop(third.await.unwrap());
        assert_eq!(turns.known(), 0, "nothing is kept for whoever is gone");
    }

    #[tokio::test]
    async fn whoever_leaves_the_line_frees_the_place() {
        let turns = Turns::new(1);
        let first = turns.take(key("s")).await.unwrap();
        let mut second = Box::pin(turns.take(key("s")));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(
            turns.take(key("s")).await.unwrap_err(),
            Full { waiting: 1 },
            "one may wait"
        );
        drop(second);
        let mut third = Box::pin(turns.take(key("s")));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        drop(third.await.unwrap());
        assert_eq!(turns.known(), 0);
    }
}
