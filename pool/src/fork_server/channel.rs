//! Frames with descriptors beside them, over a Unix socket.
//!
//! Invariant: descriptors arrive no later than the first byte of the frame that they belong to, and
//! in the order of the frames. So a queue is enough to tell which belongs where.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::messages::{FromServer, ToServer};
use crate::wire::{self, FrameError, MAX_FRAME};

/// The most descriptors beside one read.
const MOST: usize = 32;

/// A frame to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    frame: Bytes,
    fds: Vec<OwnedFd>,
}

impl Outgoing {
    /// # Errors
    /// Where the message is too long for one frame, as a large environment can make it.
    pub(super) fn new(message: &ToServer<'_>, fds: Vec<OwnedFd>) -> Result<Self, FrameError> {
        let frame = wire::frame(message, MAX_FRAME)?.into();
        Ok(Self { frame, fds })
    }
}

/// Sends until nobody is left who could ask for more. Then the server sees the end of its wire.
pub(super) async fn write(
    socket: Arc<UnixStream>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) {
    while let Some(Outgoing { mut frame, mut fds }) = outgoing.recv().await {
        while !frame.is_empty() {
            let sent = socket
                .async_io(Interest::WRITABLE, || send(&socket, &frame, &fds))
                .await;
            match sent {
                Ok(sent) => frame.advance(sent),
                // The reader sees the end, and tells everybody.
                Err(_) => return,
            }
            fds.clear();
        }
    }
}

fn send(socket: &UnixStream, frame: &[u8], fds: &[OwnedFd]) -> io::Result<usize> {
    let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("too many descriptors beside one frame"));
    }
    let sent = rustix::net::sendmsg(
        socket,
        &[IoSlice::new(frame)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    Ok(sent)
}

/// What comes from the server.
#[derive(Debug)]
pub(super) struct Inbox {
    socket: Arc<UnixStream>,
    received: BytesMut,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    pub(super) fn new(socket: Arc<UnixStream>) -> Self {
        Self {
            socket,
            received: BytesMut::new(),
            fds: VecDeque::new(),
        }
    }

    /// The next frame; `None` at the end of the wire.
    pub(super) async fn next(&mut self) -> io::Result<Option<FromServer>> {
        loop {
            let frame = wire::take_frame(&mut self.received, MAX_FRAME);
            if let Some(payload) = frame.map_err(io::Error::other)? {
                return wire::parse(&payload).map(Some).map_err(io::Error::other);
            }
            let mut chunk = [0_u8; 4096];
            let (socket, fds) = (&self.socket, &mut self.fds);
            let read = socket
                .async_io(Interest::READABLE, || receive(socket, &mut chunk, fds))
                .await;
            match read {
                Ok(0) => return Ok(None),
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next descriptor that came beside a frame.
    pub(super) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }
}

fn receive(
    socket: &UnixStream,
    chunk: &mut [u8],
    fds: &mut VecDeque<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let read = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(chunk)],
        &mut beside,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            fds.extend(arrived);
        }
    }
    if read.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "a descriptor was lost on its way: too many are open in this process",
        ));
    }
    Ok(read.bytes)
}
