//! Who waits for which id, and what a worker's frame is to them.
//!
//! Invariants: an id is answered once; a chunk goes only to a call that asked for chunks and has
//! room for it; what comes for a call that was given up is thrown away. Anything else breaks the
//! protocol, and the text that is returned then condemns the worker.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::frames::{FromWorker, Kind};
use crate::call::Usage;
use crate::error::PoolError;
use crate::failure::Failure;
use crate::stream::{Chunk, ChunkSender};

/// What comes back for an id.
#[derive(Debug)]
pub(super) enum Answer {
    Result {
        outputs: Option<Map<String, Value>>,
        program_ms: Option<f64>,
        state: Option<Box<RawValue>>,
        usage: Option<Usage>,
    },
    Failed(Failure),
    Pong,
    /// The worker ended before it answered.
    Ended(Ending),
    /// The worker was over before the message was sent.
    NeverSent(Ending),
}

/// Why a worker takes no more frames.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// It ended by itself.
    Crashed(String),
    /// It broke the protocol.
    Protocol(String),
    /// We gave it up.
    Hung(String),
    /// We asked it to end.
    Stopped,
}

impl Ending {
    pub(super) fn into_error(self, worker: &str) -> PoolError {
        let worker = worker.to_owned();
        match self {
            Self::Crashed(reason) => PoolError::Crashed { worker, reason },
            Self::Protocol(reason) => PoolError::Protocol { worker, reason },
            Self::Hung(reason) => PoolError::Hung { worker, reason },
            Self::Stopped => PoolError::Crashed {
                worker,
                reason: "it was stopped".to_owned(),
            },
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashed(reason) => write!(f, "it ended: {reason}"),
            Self::Protocol(reason) => write!(f, "it broke the protocol: {reason}"),
            Self::Hung(reason) => write!(f, "it was given up: {reason}"),
            Self::Stopped => f.write_str("it was stopped"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) by_id: HashMap<u64, Waiter, BuildHasherDefault<IdHasher>>,
    /// Why it takes no more frames. Set before its end where the reason is ours.
    pub(super) ending: Option<Ending>,
    /// Its end of the wire is closed, or what came by it was no frame. How it ended is not known yet.
    pub(super) hung_up: bool,
    /// The reader has ended: nothing will be answered any more.
    pub(super) closed: bool,
}

/// Ids are ours and count up, so nobody can choose them to collide.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // The table looks at the highest bits too, and those of ids are all zero.
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

pub(super) struct Waiter {
    pub(super) answer: Option<oneshot::Sender<Answer>>,
    /// Given back when the worker is done.
    pub(super) slot: Option<Box<dyn Any + Send>>,
    /// Where the call's chunks go, where it asked for them.
    pub(super) chunks: Option<ChunkSender>,
    pub(super) given_up: Option<Instant>,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("given_up", &self.given_up)
            .finish_non_exhaustive()
    }
}

/// An answer and who gets it. It is handed over outside the lock.
#[derive(Debug)]
pub(super) struct Answered {
    waiter: Waiter,
    answer: Answer,
}

impl Answered {
    pub(super) fn hand_over(self) {
        // The slot first: whoever waits for the answer may ask for a slot at once.
        drop(self.waiter.slot);
        if let Some(answered) = self.waiter.answer {
            let _ = answered.send(self.answer);
        }
    }
}

impl Waiting {
    /// Why it takes no more calls, once it does not.
    pub(super) fn over(&self) -> Option<Ending> {
        let hung_up = || Ending::Crashed("its end of the wire is closed".to_owned());
        self.ending.clone().or_else(|| self.hung_up.then(hung_up))
    }

    /// Takes a frame to whom it belongs; an answer is left to be handed over.
    pub(super) fn deliver(&mut self, frame: FromWorker) -> Result<Option<Answered>, String> {
        let id = frame
            .id
            .ok_or_else(|| format!("a {:?} frame without an id", frame.kind))?;
        let answer = match (frame.kind, frame.error, frame.chunk) {
            (Kind::Result, ..) => Answer::Result {
                outputs: frame.outputs,
                program_ms: frame.program_ms,
                state: frame.state,
                usage: frame.usage,
            },
            (Kind::Pong, ..) => Answer::Pong,
            (Kind::Error, Some(failure), _) => Answer::Failed(failure),
            (Kind::Chunk, _, Some(chunk)) => return self.deliver_chunk(id, chunk).map(|()| None),
            (Kind::Chunk, _, None) => return Err(format!("a frame for id {id} without its chunk")),
            (kind, ..) => return Err(format!("a {kind:?} frame where an answer was due")),
        };
        let waiter = self.by_id.remove(&id);
        let waiter = waiter.ok_or_else(|| format!("an answer to id {id}, which nobody asked"))?;
        Ok(Some(Answered { waiter, answer }))
    }

    fn deliver_chunk(&self, id: u64, chunk: Chunk) -> Result<(), String> {
        let waiter = self.by_id.get(&id);
        let waiter = waiter.ok_or_else(|| format!("a chunk for id {id}, which nobody asked"))?;
        if waiter.given_up.is_some() {
            return Ok(());
        }
        let Some(chunks) = &waiter.chunks else {
            return Err(format!("a chunk for id {id}, which asked for none"));
        };
        // Where the reader has left, the call is about to be given up.
        if chunks.send(chunk) || !chunks.is_read() {
            return Ok(());
        }
        Err(format!(
            "a chunk for id {id} beyond its window of {}",
            chunks.window()
        ))
    }
}
