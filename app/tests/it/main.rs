//! Integration tests of the shipped binary: one test binary, a module for each concern.

#![allow(
    clippy::unwrap_used,
    reason = "in a test, what cannot be unwrapped is the failure"
)]

mod bad_input;
mod cli;
mod dspy;
mod endings;
mod house;
mod migration;
mod protocol_faults;
mod sessions;
mod shadow;
mod streams;
mod traffic;
mod unfit;
mod worker_faults;
