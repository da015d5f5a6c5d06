//! A running dspex under live traffic, as demo and drills need it: the server, a language model's
//! stand-in, programs, callers, and the ledger of what the callers saw.
//!
//! Invariants: dspex is known by its command line and its HTTP interface alone; what is told of a
//! call was seen by the one who made it; everything that was started ends with its guard.

pub(crate) mod call;
pub(crate) mod client;
pub(crate) mod ledger;
pub(crate) mod model;
pub(crate) mod programs;
pub(crate) mod questions;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod setup;
pub(crate) mod timeline;
pub(crate) mod traffic;
pub(crate) mod watch;
