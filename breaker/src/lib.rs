//! What went wrong, what to do about it, and when to stop asking.
//!
//! Read in this order:
//!
//! - [`ErrorClass`]: the kinds of failure, with their [`Severity`]; [`Classify`] says which one an
//!   error is.
//! - [`Matrix`]: which [`Strategy`] answers which class, as data.
//! - [`Backoff`]: how long to wait before another try.
//! - [`RetryBudget`]: how many further tries a service can bear; [`Retry`] and [`Hedge`] draw from it.
//! - [`Circuit`]: a circuit breaker that hands out RAII [`Permit`]s.
//! - [`Recovery`]: from an error to what is done about it, and what is being done at present.
//!
//! The crate spawns nothing. What decides takes `now` as an argument; only what makes a call itself
//! ([`Circuit::call`], [`Retry::run`], [`Hedge::run`], the tower layer) reads the clock. It knows no other crate of
//! this workspace.

mod backoff;
mod budget;
mod call;
mod chance;
mod checked;
mod circuit;
mod class;
mod classify;
mod config;
mod count_window;
mod error;
mod hedge;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod matrix;
mod mode;
mod rare;
mod recovery;
mod retry;
mod row;
mod sync;
mod time_window;
mod transition;
mod window;
// Beside the window and not in it: `tests/model` compiles the window with loom's types.
#[cfg(test)]
#[path = "window/tests.rs"]
mod window_tests;

pub use backoff::{Backoff, Delays};
pub use budget::{BudgetConfig, BudgetFigures, Draw, Exhausted, RetryBudget};
pub use call::CallError;
pub use circuit::{BorrowedPermit, Circuit, CircuitState, Permit};
pub use class::{ErrorClass, Severity};
pub use classify::{Classified, Classify, Note};
pub use config::CircuitConfig;
pub use error::{InvalidConfig, Refused};
pub use hedge::{Attempt, Hedge};
#[cfg(feature = "tower")]
pub use layer::{CircuitFuture, CircuitLayer, CircuitService};
pub use matrix::{Matrix, Rule, Strategy};
pub use mode::Mode;
pub use recovery::{
    Action, Attempted, Deadlines, Outcome, Recovering, Recovery, RecoveryConfig, RecoveryFigures,
    Why,
};
pub use retry::Retry;
pub use transition::{Cause, CircuitEvent, Phase, Transition};
pub use window::Counts;

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
