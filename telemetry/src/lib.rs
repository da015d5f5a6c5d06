//! What happened, measured: windows per lane that a migration is judged by, Prometheus figures
//! for people, logs, and the host's load.
//!
//! Read in this order:
//!
//! - [`Outcome`]: what is known of one finished call; [`Lane`] and [`Blame`] are its words.
//! - [`Telemetry`]: takes outcomes, answers with a [`LaneWindow`].
//! - [`Latency`]: a mergeable distribution of durations.
//! - [`Prometheus`] and [`Gauges`]: the same calls, and the state of the house, for a scraper.
//! - [`HostSampler`]: CPU and memory of the machine.
//! - [`init_logs`]: structured logs on stderr.
//!
//! The crate knows no other crate of this workspace. Where a measurement is missing the answer is
//! `None`, never a number that looks like one.

mod calls;
mod config;
mod cursor;
mod error;
mod gauges;
mod host;
mod lane;
mod latency;
mod logs;
mod outcome;
mod programs;
mod prometheus;
mod ring;
mod sink;
mod telemetry;
mod window;

pub use config::Config;
pub use cursor::Cursor;
pub use error::{LogError, PrometheusError};
pub use gauges::{
    BudgetFigures, CircuitFigures, CircuitPhase, Gauges, MigrationFigures, NotificationFigures,
    PoolFigures, RescueFigures, WorkerFigures,
};
pub use host::{HostSampler, HostUsage};
pub use lane::Lane;
pub use latency::{Latency, LatencySummary};
pub use logs::{LogConfig, LogFormat, init_logs};
pub use outcome::{Blame, Outcome};
pub use prometheus::{Prometheus, install_prometheus};
pub use telemetry::Telemetry;
pub use window::{LaneWindow, ProgramWindow};

/// The program under which calls are filed once as many programs are known as are told apart.
pub const OTHER: &str = "other";

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
