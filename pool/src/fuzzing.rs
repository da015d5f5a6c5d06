//! What the fuzz targets call: everything that a worker can send, against a model of who waits.
//!
//! The first byte of an input says how it is read: its lowest bit, whether the rest is raw bytes of
//! the wire (1) or one payload a line, which is framed here (0); its other bits, into pieces of
//! which length the wire cuts them. A mutation then reaches the parser, and not only the header.
//!
//! Invariant: these functions panic where an invariant of the protocol's reader is broken, and for
//! no other reason.

use bytes::{BufMut, BytesMut};

use crate::bridge::{BridgeError, answer};
use crate::wire;
use crate::worker::model::Model;

/// The longest frame here: short, so that limits are met.
const MAX_FRAME: usize = 4096;

/// Bytes from a worker of the worker protocol, with calls, definitions and pings waiting.
pub fn worker_sends(input: &[u8]) {
    let Some((stream, cut)) = read(input) else {
        return;
    };
    let mut model = Model::new();
    let mut received = BytesMut::new();
    for piece in stream.chunks(cut) {
        received.extend_from_slice(piece);
        let broken = model.receive(&mut received, MAX_FRAME);
        if let Err(reason) = broken {
            assert!(!reason.is_empty(), "a worker is condemned for a reason");
            model.end();
            return;
        }
        model.take_a_chunk_each();
    }
    let _ = wire::end_of_stream(&received);
    model.end();
}

/// Bytes from a worker of the bridge protocol, with one request waiting.
pub fn bridge_sends(input: &[u8]) {
    let Some((stream, cut)) = read(input) else {
        return;
    };
    let mut received = BytesMut::new();
    for piece in stream.chunks(cut) {
        received.extend_from_slice(piece);
        loop {
            match wire::take_frame(&mut received, MAX_FRAME) {
                Ok(Some(payload)) => match answer::read(&payload, 1) {
                    Ok(_) => {}
                    Err(BridgeError::Failed { failure, .. }) => {
                        let error = failure.into_error("v1-0.0");
                        let _ = (error.fault(), error.to_string());
                    }
                    Err(BridgeError::Protocol(reason)) => assert!(!reason.is_empty()),
                    Err(other) => panic!("no answer says {other:?}"),
                },
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(received.len() < MAX_FRAME + 4, "what is kept is bounded");
    }
}

/// The stream, and the length of the pieces in which it comes.
fn read(input: &[u8]) -> Option<(BytesMut, usize)> {
    let (how, rest) = input.split_first()?;
    let mut stream = BytesMut::with_capacity(rest.len() + 64);
    if how & 1 == 1 {
        stream.extend_from_slice(rest);
    } else {
        for line in rest.split(|byte| *byte == b'\n') {
            stream.put_u32(u32::try_from(line.len()).ok()?);
            stream.extend_from_slice(line);
        }
    }
    Some((stream, usize::from(how >> 1) + 1))
}
