//! Chunks of a call's answer, on their way from a worker to whoever reads them.
//!
//! Invariants: what is on its way is bounded, because a worker may only send as many chunks as were
//! taken, and a window more; a chunk that was handed over is never taken back, so a call of which
//! one was sent must not be given to another worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};

/// One chunk: what a generator yielded, or a piece of a field that a model is writing. JSON.
pub type Chunk = Box<RawValue>;

/// A channel for the chunks of one call. At most `window` of them are on their way at a time.
#[must_use]
pub fn chunks(window: u32) -> (ChunkSender, ChunkReceiver) {
    let window = window.max(1);
    let (sender, receiver) = mpsc::channel(window as usize);
    let progress = Arc::new(Progress::default());
    (
        ChunkSender {
            chunks: sender,
            progress: Arc::clone(&progress),
            window,
        },
        ChunkReceiver {
            chunks: receiver,
            progress,
        },
    )
}

#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    taken: AtomicU64,
    took: Notify,
}

/// The pool's end. A call carries it in [`crate::Call::chunks`].
#[derive(Debug, Clone)]
pub struct ChunkSender {
    chunks: mpsc::Sender<Chunk>,
    progress: Arc<Progress>,
    window: u32,
}

impl ChunkSender {
    /// How many chunks may be on their way at a time.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Chunks sent so far. Above 0, the call can no longer be answered by another worker.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::Acquire)
    }

    /// Chunks that the reader has taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.progress.taken.load(Ordering::Acquire)
    }

    /// Waits until the reader has taken more than `seen`, and says how many it has.
    pub async fn taken_beyond(&self, seen: u64) -> u64 {
        loop {
            let took = self.progress.took.notified();
            tokio::pin!(took);
            took.as_mut().enable();
            let taken = self.taken();
            if taken > seen {
                return taken;
            }
            took.await;
        }
    }

    /// Whether there is a reader still.
    #[must_use]
    pub fn is_read(&self) -> bool {
        !self.chunks.is_closed()
    }

    /// Waits until nobody reads any more.
    pub async fn reader_left(&self) {
        self.chunks.closed().await;
    }

    /// Hands a chunk over, if the window has room. `false` where it has none, or nobody reads any
    /// more.
    #[must_use]
    pub fn send(&self, chunk: Chunk) -> bool {
        let sent = self.chunks.try_send(chunk).is_ok();
        if sent {
            self.progress.sent.fetch_add(1, Ordering::AcqRel);
        }
        sent
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct ChunkReceiver {
    chunks: mpsc::Receiver<Chunk>,
    progress: Arc<Progress>,
}

impl ChunkReceiver {
    /// The next chunk; `None` once the call holds no sender any more and all were taken.
    pub async fn next(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.recv().await?;
        self.progress.taken.fetch_add(1, Ordering::AcqRel);
        // One waits: the call that the chunks belong to.
        self.progress.took.notify_waiters();
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> Chunk {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn no_more_than_the_window_is_on_its_way() {
        let (sender, mut receiver) = chunks(2);
        assert!(sender.send(chunk("1")) && sender.send(chunk("2")));
        assert!(!sender.send(chunk("3")), "the window is full");
        assert_eq!((sender.sent(), sender.taken()), (2, 0));
        let (taken, first) = tokio::join!(sender.taken_beyond(0), receiver.next());
        assert_eq!((taken, first.unwrap().get()), (1, "1"));
        assert!(sender.send(chunk("3")));
        drop(sender);
        assert_eq!(receiver.next().await.unwrap().get(), "2");
        assert_eq!(receiver.next().await.unwrap().get(), "3");
        assert!(receiver.next().await.is_none());
    }

    #[test]
    fn chunks_that_nobody_reads_are_refused() {
        let (sender, receiver) = chunks(2);
        drop(receiver);
        assert!(!sender.send(chunk("1")));
        assert_eq!(sender.sent(), 0);
        assert!(!sender.is_read());
    }
}
