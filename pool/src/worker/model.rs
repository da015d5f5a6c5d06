//! A model of who waits on a worker, for the fuzz target: every kind of waiter, each checked after
//! every piece that arrives.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::frames;
use super::waiting::{Answer, Waiter, Waiting};
use crate::failure::reported_time;
use crate::stream::{ChunkReceiver, chunks};

/// Windows of the two calls that stream.
const WINDOW: u32 = 3;

pub(crate) struct Model {
    waiting: Waiting,
    asked: Vec<Asked>,
}

/// What we know of one id.
struct Asked {
    id: u64,
    answer: Option<oneshot::Receiver<Answer>>,
    answered: bool,
    /// A second owner of the slot: it is given back when this one is the last.
    slot: Arc<()>,
    chunks: Option<ChunkReceiver>,
    taken: u64,
}

impl Model {
    /// A definition (1), a call (2), a stream that is read (3), one that was given up (4), a ping
    /// (5), a stream whose reader has just left (6), a definition that nobody waits for (7).
    pub(crate) fn new() -> Self {
        let mut model = Self {
            waiting: Waiting::default(),
            asked: Vec::new(),
        };
        for id in 1..=7_u64 {
            let (answer, answered) = oneshot::channel();
            let (sender, receiver) = chunks(WINDOW);
            let streams = matches!(id, 3 | 4 | 6);
            let given_up = id == 4;
            let slot = Arc::new(());
            let holds_slot = matches!(id, 2 | 3 | 4 | 6);
            model.waiting.by_id.insert(
                id,
                Waiter {
                    answer: (!given_up).then_some(answer),
                    slot: holds_slot.then(|| Box::new(Arc::clone(&slot)) as _),
                    chunks: (streams && !given_up).then_some(sender),
                    given_up: given_up.then(Instant::now),
                },
            );
            model.asked.push(Asked {
                id,
                answer: matches!(id, 1 | 2 | 3 | 5 | 6).then_some(answered),
                answered: false,
                slot,
                chunks: (id == 3).then_some(receiver),
                taken: 0,
            });
        }
        model
    }

    /// As the connection does it.
    pub(crate) fn receive(
        &mut self,
        received: &mut BytesMut,
        max_frame: usize,
    ) -> Result<(), String> {
        let Self { waiting, asked } = self;
        let broken = frames::for_each(received, max_frame, |frame| {
            let id = frame.id;
            if let Some(answered) = waiting.deliver(frame)? {
                answered.hand_over();
                let id = id.expect("only a frame with an id answers");
                let asked = asked.iter_mut().find(|asked| asked.id == id);
                asked
                    .expect("only what was asked is answered")
                    .answer_came();
            }
            Ok(())
        });
        for asked in asked {
            let waits = waiting.by_id.contains_key(&asked.id);
            assert_eq!(waits, !asked.answered, "id {} is lost", asked.id);
            if let Some(sender) = waiting
                .by_id
                .get(&asked.id)
                .and_then(|waiter| waiter.chunks.as_ref())
                && sender.is_read()
            {
                let ahead = sender.sent() - asked.taken;
                assert!(
                    ahead <= u64::from(WINDOW),
                    "{ahead} chunks are on their way"
                );
            }
        }
        if broken.is_ok() {
            assert!(received.len() < max_frame + 4, "what is kept is bounded");
        }
        broken
    }

    /// The readers take a chunk, where there is one.
    pub(crate) fn take_a_chunk_each(&mut self) {
        for asked in &mut self.asked {
            if let Some(chunks) = &mut asked.chunks {
                let next = pin!(chunks.next());
                let mut context = Context::from_waker(Waker::noop());
                if let Poll::Ready(Some(chunk)) = next.poll(&mut context) {
                    asked.taken += 1;
                    assert!(!chunk.get().is_empty(), "a chunk is JSON");
                }
            }
        }
    }

    /// The worker is over: every slot comes back.
    pub(crate) fn end(self) {
        drop(self.waiting);
        for asked in self.asked {
            assert_eq!(
                Arc::strong_count(&asked.slot),
                1,
                "slot {} is lost",
                asked.id
            );
        }
    }
}

impl Asked {
    fn answer_came(&mut self) {
        assert!(!self.answered, "id {} was answered twice", self.id);
        self.answered = true;
        assert_eq!(Arc::strong_count(&self.slot), 1, "slot {} is kept", self.id);
        let Some(mut answer) = self.answer.take() else {
            return;
        };
        match answer.try_recv().expect("whoever waits is told") {
            Answer::Result { program_ms, .. } => {
                let _ = reported_time(program_ms);
            }
            Answer::Failed(failure) => {
                let error = failure.into_error("w-0.0");
                let _ = (error.fault(), error.to_string());
            }
            Answer::Pong => {}
            other => panic!("no frame says {other:?}"),
        }
    }
}
