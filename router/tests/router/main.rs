//! What must hold for the router, on fake pools and real stores.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, a panic with the error in it is the report"
)]

mod catalog;
mod changes;
mod circuits;
mod comparers;
mod comparisons;
mod failover;
mod leaving;
mod modes;
mod programs;
mod promotion;
mod repeats;
mod routing;
mod session_stores;
mod sessions;
mod shadow;
mod streaming;
mod support;
mod tables;
mod versions;
