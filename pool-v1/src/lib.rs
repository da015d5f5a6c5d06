//! The simple pool: a fixed set of workers on the bridge protocol, one call at a time each.
//!
//! Read in this order: [`Config`], [`PoolV1`], then `state` (what the pool knows of its workers),
//! `lend` (a seat for a call), `slot` (how workers are started again), `seat` (one worker and what
//! it knows) and `command` (the protocol's arguments).
//!
//! This crate can be deleted: nothing but one file of the app knows it.

mod command;
mod config;
mod lend;
mod pool;
mod seat;
mod session_state;
mod slot;
mod state;
mod trial;

pub use config::{Config, InvalidConfig, Mode};
pub use pool::PoolV1;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
