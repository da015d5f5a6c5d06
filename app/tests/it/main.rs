//! Integration tests of the shipped binary: one test binary, a module for each concern.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, what cannot be unwrapped is the failure"
)]

mod again;
mod backtest;
mod backup;
mod bad_input;
mod cli;
mod crash_loop;
mod crowd;
mod decommission;
mod docs;
mod dspy;
mod emergency;
mod endings;
mod failing_disk;
mod fleet;
mod gates;
mod greed;
mod house;
mod kill_storm;
mod locked;
mod metrics;
mod migration;
mod notify;
mod ofrep;
mod preflight;
mod protocol_faults;
mod refusals;
mod report;
mod secrets;
mod session_storms;
mod sessions;
mod shadow;
mod stopped_worker;
mod stream_storms;
mod streams;
mod traffic;
mod unfit;
mod validate;
mod worker_faults;
