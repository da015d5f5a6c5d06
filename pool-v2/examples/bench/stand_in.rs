//! A worker that costs next to nothing: it answers every call at once with what it was given.
//!
//! Sixty-four of these start in an instant and leave the cores to the pool that is measured.

use std::os::fd::BorrowedFd;

use bytes::BytesMut;
use dspex_pool::wire;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Outcome;

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    id: Option<u64>,
    #[serde(borrow)]
    inputs: Option<&'a RawValue>,
}

/// Speaks the worker protocol on the inherited descriptor until the other side closes.
pub(crate) fn serve() -> Outcome<()> {
    let wire_fd: i32 = std::env::var("DSPEX_WIRE_FD")?.parse()?;
    // SAFETY: the pool hands the descriptor down, open, and nobody in this process closes it.
    #[expect(
        unsafe_code,
        reason = "an inherited descriptor can only be taken on trust"
    )]
    let socket = unsafe { BorrowedFd::borrow_raw(wire_fd) };
    let hello = json!({
        "type": "hello",
        "protocol": 1,
        "pid": std::process::id(),
        "python": "none: a stand-in",
        "engines": {},
        "capabilities": ["cancel", "ping"],
    });
    send(socket, &wire::frame(&hello, wire::MAX_FRAME)?)?;
    let mut received = BytesMut::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let got = rustix::io::read(socket, &mut *chunk)?;
        if got == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..got]);
        let mut answers = BytesMut::new();
        while let Some(payload) = wire::take_frame(&mut received, wire::MAX_FRAME)? {
            let Some(answer) = answer(&wire::parse(&payload)?) else {
                return Ok(());
            };
            if !answer.is_null() {
                answers.extend_from_slice(&wire::frame(&answer, wire::MAX_FRAME)?);
            }
        }
        send(socket, &answers)?;
    }
}

/// The answer to a frame: null where none is due, nothing where it is time to leave.
fn answer(frame: &Frame<'_>) -> Option<Value> {
    Some(match frame.r#type {
        "configure" => json!({ "type": "ready" }),
        "ping" => json!({ "type": "pong", "id": frame.id }),
        "define" => json!({ "type": "result", "id": frame.id }),
        "call" => json!({
            "type": "result",
            "id": frame.id,
            "outputs": frame.inputs,
            "program_ms": 0.0,
        }),
        "shutdown" => return None,
        _ => Value::Null,
    })
}

fn send(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> Outcome<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::write(socket, bytes)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
