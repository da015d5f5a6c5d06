//! What leaves for a worker.
//!
//! A frame is written straight from the caller's task while the socket takes it: a wake-up across
//! cores costs more than the write. Where several callers were answered at once, they tend to ask
//! again at once, and what they send is kept until the last of them has; one write for each call is
//! most of what a short call costs. What the socket refuses is left to a task.
//!
//! Invariants: frames leave whole and in the order in which they were written; nothing is kept
//! beyond the next turn of the task that reads.

use std::io::ErrorKind;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;

/// More than this is not kept back.
const MOST_KEPT: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Outgoing {
    socket: OwnedWriteHalf,
    state: Mutex<State>,
    blocked: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What has not been written yet.
    bytes: BytesMut,
    /// How many frames more are waited for before anything is written.
    expected: usize,
    /// The socket takes no more for now, and the task writes when it does.
    blocked: bool,
}

impl Outgoing {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self {
            socket,
            state: Mutex::default(),
            blocked: Notify::new(),
        }
    }

    /// Writes a frame, or keeps it for a moment. That the other side is gone is the reader's to
    /// see, who tells everybody.
    pub(super) fn write(&self, frame: &[u8]) {
        let mut state = self.state();
        let mut rest = frame;
        if state.bytes.is_empty() && state.expected <= 1 {
            state.expected = 0;
            match self.socket.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if !rest.is_empty() {
                state.bytes.extend_from_slice(rest);
                self.leave_to_the_task(&mut state);
            }
            return;
        }
        state.bytes.extend_from_slice(rest);
        state.expected = state.expected.saturating_sub(1);
        if state.expected == 0 || state.bytes.len() > MOST_KEPT {
            self.write_kept(&mut state);
        }
    }

    /// So many callers are about to be answered.
    pub(super) fn expect(&self, frames: usize) {
        self.state().expected = frames;
    }

    /// Whoever has not asked again by now is not waited for.
    pub(super) fn expect_no_more(&self) {
        let mut state = self.state();
        state.expected = 0;
        self.write_kept(&mut state);
    }

    /// Writes what the socket has refused, whenever it takes more. Returns where it is gone.
    pub(super) async fn write_what_was_refused(&self) {
        loop {
            self.blocked.notified().await;
            loop {
                if self.socket.writable().await.is_err() {
                    return;
                }
                let mut state = self.state();
                state.blocked = false;
                self.write_kept(&mut state);
                if !state.blocked {
                    break;
                }
            }
        }
    }

    fn write_kept(&self, state: &mut State) {
        while !state.bytes.is_empty() && !state.blocked {
            match self.socket.try_write(&state.bytes) {
                Ok(written) => state.bytes.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.leave_to_the_task(state);
                }
                Err(_) => state.bytes.clear(),
            }
        }
    }

    fn leave_to_the_task(&self, state: &mut State) {
        state.blocked = true;
        self.blocked.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::net::unix::OwnedReadHalf;

    use super::*;

    fn pair() -> (Outgoing, OwnedReadHalf, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (unread, writing) = ours.into_split();
        (Outgoing::new(writing), unread, theirs)
    }

    fn nothing_came(theirs: &UnixStream) -> bool {
        matches!(theirs.try_read(&mut [0; 8]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    async fn read(theirs: &mut UnixStream, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        theirs.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_frame_leaves_at_once_where_no_others_are_expected() {
        let (outgoing, _unread, mut theirs) = pair();
        outgoing.write(b"one");
        assert_eq!(read(&mut theirs, 3).await, b"one");
    }

    #[tokio::test]
    async fn expected_frames_leave_together_and_in_order() {
        let (outgoing, _unread, mut theirs) = pair();
        outgoing.expect(3);
        outgoing.write(b"one");
        outgoing.write(b"two");
        assert!(nothing_came(&theirs), "the third is waited for");
        outgoing.write(b"three");
        assert_eq!(read(&mut theirs, 11).await, b"onetwothree");
        outgoing.write(b"four");
        assert_eq!(read(&mut theirs, 4).await, b"four");
    }

    #[tokio::test]
    async fn whoever_does_not_come_is_not_waited_for() {
        let (outgoing, _unread, mut theirs) = pair();
        outgoing.expect(3);
        outgoing.write(b"one");
        outgoing.expect_no_more();
        assert_eq!(read(&mut theirs, 3).await, b"one");
    }

    #[tokio::test]
    async fn what_the_socket_refuses_leaves_when_it_takes_more() {
        let (outgoing, _unread, mut theirs) = pair();
        let outgoing = Arc::new(outgoing);
        let frames: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; 50_000]).collect();
        outgoing.expect(40);
        for frame in &frames {
            outgoing.write(frame);
        }
        outgoing.expect_no_more();
        let all = frames.concat();
        let came = tokio::select! {
            () = outgoing.write_what_was_refused() => panic!("the socket is open"),
            came = read(&mut theirs, all.len()) => came,
        };
        assert!(came == all, "all of it, and in order");
        outgoing.write(b"and on");
        assert_eq!(read(&mut theirs, 6).await, b"and on");
    }
}
