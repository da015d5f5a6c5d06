//! What went wrong, what to do about it, and when to stop asking.
//!
//! Read in this order:
//!
//! - [`ErrorClass`]: the kinds of failure, with their [`Severity`].
//! - [`Matrix`]: which [`Strategy`] answers which class, as data.
//! - [`Backoff`]: how long to wait before another try.
//! - [`Circuit`]: a circuit breaker that hands out RAII [`Permit`]s.
//!
//! The crate spawns nothing, awaits nothing and reads no clock on the way of a call: the caller
//! passes `now`. It knows no other crate of this workspace.

mod backoff;
mod circuit;
mod class;
mod config;
mod error;
mod matrix;
mod transition;
mod window;

pub use backoff::Backoff;
pub use circuit::{Circuit, CircuitState, Permit};
pub use class::{ErrorClass, Severity};
pub use config::CircuitConfig;
pub use error::{InvalidConfig, Refused};
pub use matrix::{Matrix, Rule, Strategy};
pub use transition::{Cause, Phase, Transition};

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
