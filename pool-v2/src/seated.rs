//! A worker as the pool holds it: with the count of what it ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dspex_pool::{ProgramKey, Worker};

use crate::dispatcher::Handle;

/// Programs of one worker that are counted apart. A worker that has run more different ones than
/// this has no single one to blame for its memory.
const PROGRAMS: usize = 64;

/// A worker and what it ran.
#[derive(Debug)]
pub(crate) struct Seated {
    pub(crate) worker: Worker,
    /// Calls sent to it, by program.
    calls: Mutex<HashMap<ProgramKey, u64>>,
}

impl Seated {
    pub(crate) fn new(worker: Worker) -> Arc<Self> {
        Arc::new(Self {
            worker,
            calls: Mutex::default(),
        })
    }

    /// Counts a call.
    pub(crate) fn ran(&self, program: &ProgramKey) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = calls.get_mut(program) {
            *count += 1;
        } else if calls.len() < PROGRAMS {
            calls.insert(program.clone(), 1);
        }
    }

    /// Calls by program so far.
    pub(crate) fn calls(&self) -> HashMap<ProgramKey, u64> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Handle for Seated {
    fn pid(&self) -> Option<u32> {
        Some(self.worker.pid())
    }

    fn answered(&self) -> u64 {
        self.worker.answered()
    }
}
