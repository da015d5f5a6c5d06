//! The messages between us and a fork server.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::launch::WorkerLimits;

/// From us to the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToServer<'a> {
    /// Import, warm up, freeze. Once.
    Warm {
        imports: &'a [String],
        warmup: Vec<String>,
    },
    /// Fork a worker; its wire, standard output and standard error travel beside the frame.
    Fork {
        id: u64,
        name: &'a str,
        env: BTreeMap<String, String>,
        limits: Limits,
    },
    /// The worker may be reaped once it has ended.
    Release { pid: u32 },
}

/// What the kernel holds the worker to.
#[derive(Debug, Serialize)]
pub(super) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    address_space: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files: Option<u64>,
}

impl From<WorkerLimits> for Limits {
    fn from(limits: WorkerLimits) -> Self {
        Self {
            address_space: limits.address_space,
            open_files: limits.open_files,
        }
    }
}

/// From the server to us.
#[derive(Debug, Deserialize)]
pub(super) struct FromServer {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) id: Option<u64>,
    #[serde(default)]
    pub(super) pid: Option<u32>,
    #[serde(default)]
    pub(super) code: Option<i32>,
    #[serde(default)]
    pub(super) signal: Option<i32>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default, rename = "unsafe")]
    pub(super) is_unsafe: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Ready,
    Unsafe,
    Fatal,
    Forked,
    Refused,
    Ended,
}

/// Variables are bytes, and need not be text. One character for each byte carries them unchanged.
pub(super) fn bytewise((name, value): (&OsString, &OsString)) -> (String, String) {
    let carried = |text: &OsStr| text.as_bytes().iter().copied().map(char::from).collect();
    (carried(name), carried(value))
}
