//! Processes and workers, with real children.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod bridge;
mod corpus;
mod forks;
mod house;
mod orphans;
mod output;
mod process;
mod python;
mod sandbox;
mod worker;

use std::time::Duration;

/// Long enough for a loaded machine; nothing waits for it where things are well.
const LONG: Duration = Duration::from_secs(60);
