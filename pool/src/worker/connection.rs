//! The socket of a running worker: who asks, who is answered, and how it ends.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::frames::{self, FromWorker, ToWorker};
use super::outgoing::Outgoing;
use super::waiting::{Answer, Answered, Ending, Waiter, Waiting};
use crate::bridge::explain_end;
use crate::process::Process;
use crate::stream::ChunkSender;
use crate::wire::{self, FrameError};

/// The room that each read has at least. Answers that have come by then are taken at once, and a
/// read that does not fill it spares the one that would find nothing.
const ROOM: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    name: Arc<str>,
    outgoing: Outgoing,
    last_id: AtomicU64,
    waiting: Mutex<Waiting>,
    ended: watch::Sender<Option<Ending>>,
    max_frame: usize,
}

impl Connection {
    pub(super) fn open(
        name: Arc<str>,
        socket: UnixStream,
        received: BytesMut,
        max_frame: usize,
        process: Arc<Process>,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let (reading, writing) = socket.into_split();
        let connection = Arc::new(Self {
            name,
            outgoing: Outgoing::new(writing),
            last_id: AtomicU64::new(0),
            waiting: Mutex::default(),
            ended: watch::Sender::new(None),
            max_frame,
        });
        tracker.spawn(Arc::clone(&connection).write_what_was_refused());
        tracker.spawn(Arc::clone(&connection).read(reading, received, process));
        connection
    }

    /// Sends a message that will be answered under its id.
    pub(super) fn ask<'a>(
        &self,
        message: impl FnOnce(u64) -> ToWorker<'a>,
        slot: Option<Box<dyn Any + Send>>,
        chunks: Option<ChunkSender>,
    ) -> Result<Pending<'_>, FrameError> {
        let (answer, answered) = oneshot::channel();
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let frame = wire::frame(&message(id), self.max_frame)?;
        {
            let mut waiting = self.waiting();
            let ending = waiting.over().filter(|_| waiting.closed || slot.is_some());
            if let Some(ending) = ending {
                let _ = answer.send(Answer::NeverSent(ending));
                return Ok(Pending {
                    connection: self,
                    id,
                    answered,
                    cancel: false,
                });
            }
            let waiter = Waiter {
                answer: Some(answer),
                slot,
                chunks,
                given_up: None,
            };
            waiting.by_id.insert(id, waiter);
        }
        self.outgoing.write(&frame);
        Ok(Pending {
            connection: self,
            id,
            answered,
            cancel: true,
        })
    }

    /// Sends a message that is not answered.
    pub(super) fn tell(&self, message: &ToWorker<'_>) {
        match wire::frame(message, self.max_frame) {
            Ok(frame) => self.outgoing.write(&frame),
            Err(error) => tracing::error!(worker = %self.name, %error, "cannot send a message"),
        }
    }

    /// Sends what is no frame.
    pub(super) fn garble(&self) {
        self.outgoing.write(&wire::NO_FRAME);
    }

    pub(super) fn condemn(&self, ending: Ending) {
        self.waiting().ending.get_or_insert(ending);
    }

    pub(super) fn stopping(&self) {
        self.condemn(Ending::Stopped);
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting().over().is_some()
    }

    pub(super) fn wanted_calls(&self) -> usize {
        let waiting = self.waiting();
        let wanted = |waiter: &&Waiter| waiter.slot.is_some() && waiter.given_up.is_none();
        waiting.by_id.values().filter(wanted).count()
    }

    pub(super) fn overstayed(&self) -> Option<Duration> {
        let waiting = self.waiting();
        waiting
            .by_id
            .values()
            .filter_map(|waiter| waiter.given_up)
            .min()
            .map(|at| at.elapsed())
    }

    pub(super) async fn ended(&self) -> Ending {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone().unwrap_or(Ending::Stopped),
            // The sender lives in `self`.
            Err(_) => Ending::Stopped,
        }
    }

    /// The caller has left, or its time is over: the worker is told, the slot stays taken until
    /// the worker answers.
    fn give_up(&self, id: u64) {
        let mut waiting = self.waiting();
        let Some(waiter) = waiting.by_id.get_mut(&id) else {
            return;
        };
        waiter.answer = None;
        waiter.chunks = None;
        if waiter.slot.is_some() {
            waiter.given_up = Some(Instant::now());
            drop(waiting);
            self.tell(&ToWorker::Cancel { id });
        }
    }

    async fn write_what_was_refused(self: Arc<Self>) {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            () = self.outgoing.write_what_was_refused() => {}
            _ = ended.wait_for(Option::is_some) => {}
        }
    }

    async fn read(
        self: Arc<Self>,
        mut socket: OwnedReadHalf,
        mut received: BytesMut,
        process: Arc<Process>,
    ) {
        let mut batch = Batch::default();
        let broken = loop {
            match self.deliver_all(&mut received, &mut batch) {
                Ok(answered) if answered > 1 => {
                    // Those who were woken here run before we do.
                    tokio::task::yield_now().await;
                    self.outgoing.expect_no_more();
                }
                Ok(_) => {}
                Err(reason) => break Some(reason),
            }
            if received.capacity() - received.len() < ROOM {
                received.reserve(4 * ROOM);
            }
            match socket.read_buf(&mut received).await {
                Ok(0) | Err(_) => {
                    break wire::end_of_stream(&received).err().map(|e| e.to_string());
                }
                Ok(_) => {}
            }
        };
        if broken.is_some() {
            process.kill();
        }
        // It may take a while to learn how it ended: meanwhile it gets no more calls.
        self.waiting().hung_up = true;
        let end = explain_end(&process).await;
        // A frame cut short by a crash is the crash's fault, and its exit says more.
        let theirs = match broken {
            Some(reason) if !reason.contains("ended inside a frame") => Ending::Protocol(reason),
            _ => Ending::Crashed(end),
        };
        let (ending, waiters) = {
            let mut waiting = self.waiting();
            waiting.closed = true;
            let ending = waiting.ending.get_or_insert(theirs).clone();
            (ending, std::mem::take(&mut waiting.by_id))
        };
        // Told first, so that a slot's owner sees the end before its slots come back.
        self.ended.send_replace(Some(ending.clone()));
        for waiter in waiters.into_values() {
            if let Some(answer) = waiter.answer {
                let _ = answer.send(Answer::Ended(ending.clone()));
            }
        }
    }

    /// Takes all whole frames to whom they belong, and says how many were answers.
    fn deliver_all(&self, received: &mut BytesMut, batch: &mut Batch) -> Result<usize, String> {
        let mut broken = frames::for_each(received, self.max_frame, |frame| {
            batch.frames.push(frame);
            Ok(())
        });
        {
            let mut waiting = self.waiting();
            for frame in batch.frames.drain(..) {
                match waiting.deliver(frame) {
                    Ok(answered) => batch.answered.extend(answered),
                    Err(reason) => {
                        broken = Err(reason);
                        break;
                    }
                }
            }
        }
        let answers = batch.answered.len();
        if answers > 1 {
            self.outgoing.expect(answers);
        }
        // Outside the lock: slots come back and callers are woken.
        for answered in batch.answered.drain(..) {
            answered.hand_over();
        }
        broken.map(|()| answers)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one read has brought. Kept for its memory.
#[derive(Debug, Default)]
struct Batch {
    frames: Vec<FromWorker>,
    answered: Vec<Answered>,
}

/// An answer that is waited for. Dropped before it came, the call is cancelled.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    connection: &'a Connection,
    id: u64,
    answered: oneshot::Receiver<Answer>,
    cancel: bool,
}

impl Pending<'_> {
    pub(super) async fn wait(&mut self) -> Answer {
        let answer = (&mut self.answered).await;
        self.cancel = false;
        answer.unwrap_or(Answer::Ended(Ending::Stopped))
    }

    /// Lets the worker send so many chunks more.
    pub(super) fn credit(&self, n: u64) {
        self.connection.tell(&ToWorker::Credit { id: self.id, n });
    }

    /// Leaves the answer to be thrown away when it comes.
    pub(super) fn detach(mut self) {
        self.cancel = false;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.cancel {
            self.connection.give_up(self.id);
        }
    }
}
