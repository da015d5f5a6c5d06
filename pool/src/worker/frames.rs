//! The messages of the worker protocol, version 1.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::call::Usage;
use crate::failure::Failure;
use crate::launch::LmProfile;
use crate::program::{Definition, ProgramKey};
use crate::wire::{self, FrameError};

/// The version that we speak.
pub(super) const PROTOCOL: u32 = 1;

/// From us to the worker.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToWorker<'a> {
    Configure {
        lms: &'a BTreeMap<String, LmProfile>,
        allow_modules: &'a [String],
        concurrency: usize,
        preload: &'a [String],
    },
    Define {
        id: u64,
        #[serde(serialize_with = "as_text")]
        key: &'a ProgramKey,
        definition: &'a Definition,
        #[serde(skip_serializing_if = "is_false")]
        stateful: bool,
    },
    Call {
        id: u64,
        #[serde(serialize_with = "as_text")]
        key: &'a ProgramKey,
        inputs: &'a Map<String, Value>,
        session: Option<&'a str>,
        request: &'a str,
        timeout_ms: u64,
        /// Chunks are wanted, and so many may be on their way at a time.
        #[serde(skip_serializing_if = "is_false")]
        stream: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<u32>,
        #[serde(skip_serializing_if = "is_false")]
        stateful: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<&'a RawValue>,
    },
    /// The reader has taken so many chunks of the call.
    Credit {
        id: u64,
        n: u64,
    },
    Cancel {
        id: u64,
    },
    Forget {
        #[serde(serialize_with = "as_text")]
        key: &'a ProgramKey,
    },
    Ping {
        id: u64,
    },
    Shutdown,
}

fn as_text<S: Serializer>(key: &ProgramKey, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(key)
}

fn is_false(value: &bool) -> bool {
    !value
}

/// From the worker to us: one flat shape, because serde would buffer a tagged one before reading
/// it, and answers may be large.
#[derive(Debug, Deserialize)]
pub(super) struct FromWorker {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) id: Option<u64>,
    #[serde(default)]
    pub(super) outputs: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) program_ms: Option<f64>,
    #[serde(default)]
    pub(super) error: Option<Failure>,
    #[serde(default, deserialize_with = "as_it_is")]
    pub(super) state: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
    #[serde(default, deserialize_with = "as_it_is")]
    pub(super) chunk: Option<Box<RawValue>>,
}

/// Takes every whole frame off the buffer, until one breaks the protocol; says how.
pub(super) fn for_each(
    received: &mut BytesMut,
    max_frame: usize,
    mut take: impl FnMut(FromWorker) -> Result<(), String>,
) -> Result<(), String> {
    let broken = |error: FrameError| error.to_string();
    while let Some(payload) = wire::peek_frame(received, max_frame).map_err(broken)? {
        let frame = wire::parse(payload).map_err(broken)?;
        let length = payload.len();
        wire::drop_frame(received, length);
        take(frame)?;
    }
    Ok(())
}

/// Any JSON, `null` too: a field that is there, whatever it holds.
fn as_it_is<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(from).map(Some)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Hello,
    Ready,
    Fatal,
    Result,
    Chunk,
    Error,
    Pong,
}

/// What a worker says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// The version of the protocol.
    pub protocol: u32,
    /// Its process id, as it sees it.
    pub pid: u32,
    /// Python's version.
    pub python: String,
    /// What it can run.
    pub engines: Engines,
    /// What of the protocol it supports.
    pub capabilities: Vec<String>,
}

/// Versions of a worker's engines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Engines {
    /// The installed DSPy, where there is one.
    #[serde(default)]
    pub dspy: Option<String>,
}
