//! Whole migrations in simulated time: the real controller, flags and telemetry, a simulated
//! candidate and simulated callers.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod afterwards;
mod commands;
mod crashes;
mod drift;
mod emergencies;
mod explorer;
mod gates;
mod house;
mod laws;
mod life;
mod old_journals;
mod rollbacks;
mod shadow;
mod sqlite;
mod trouble;
mod unacknowledged;
mod unclear;
mod whole_plans;
