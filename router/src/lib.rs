//! Catalog, route, dispatch, failover and comparison between the stable and the candidate lane.
//!
//! Read in this order: [`Router`] (what callers use), [`RouterConfig`], [`catalog`] (programs that
//! survive restarts), then how a call goes: `route` and `streams` (which lane), `dispatch` (one attempt on one
//! lane), `failover` (whether stable may get a second attempt), `rescue` (whether the budget has one
//! left), `classify` (who is to blame), `circuits` (what a lane's circuit went through, and who decides for
//! it), and [`sessions`] (what stateful programs leave from one call to
//! the next). After the answer: `shadow` (copies for the other lane) and [`compare`] (whether two
//! answers say the same).
//! [`Adapter`] keeps the five operations of the older adapter.
//!
//! Invariants: the way of a call reads no database for a program that is known, and takes no lock, but
//! for a call in a session while sessions stream;
//! each attempt is recorded once, with the lane it ran on; no caller pays for a migration.

mod adapter;
pub mod catalog;
mod circuits;
mod classify;
mod clock;
pub mod compare;
mod config;
mod dispatch;
mod error;
mod execute;
mod failover;
mod health;
mod probe;
mod programs;
mod rescue;
mod route;
mod router;
pub mod sessions;
mod shadow;
mod streams;

pub use adapter::Adapter;
pub use catalog::{Catalog, CorruptRow, MemoryCatalog, Page, SqliteCatalog, Version, Versions};
pub use circuits::{
    CircuitChange, CircuitDeed, CircuitMode, CircuitTransitions, InHand, circuit_effect,
};
pub use config::RouterConfig;
pub use error::{CatalogError, ExecuteFailed, InvalidConfig, RouterError};
pub use execute::{Execute, Executed};
pub use health::{CircuitHealth, LastTransition, RouterHealth, SessionsHealth};
pub use programs::{Draft, Loaded, Put};
pub use rescue::{
    ActiveRescue, BudgetHealth, DrawHealth, EndedRescue, RescueConfig, RescueHealth, RuleHealth,
};
pub use router::{Router, RouterParts};
pub use sessions::{MemorySessions, SessionStore, SessionsConfig, SqliteSessions};
pub use shadow::{
    Case, CaseSummary, ComparerView, NoiseConfig, ProgramComparison, Replay, ShadowConfig,
    ShadowCounts, ShadowView,
};

/// Compiles and runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
