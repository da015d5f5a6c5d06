//! The dspex application: configuration, assembly, HTTP and the command line.
//!
//! Read in this order: [`config`] (what is asked for), `pools` (which kinds of pool there are; only
//! this module knows), `configurations` (their versions, and which is stable), `resting` (a pool that may stop
//! its workers), `assemble` (the parts and how they hold together), `candidate` (how a
//! migration's candidate comes and goes), `keeper` (brings it back after a restart), `webhook`
//! and `notify` (who is told), [`serve`] (the life of a server), `http` (its face),
//! [`cli`] (the command line).

mod archive;
mod assemble;
mod auth;
mod backup;
mod candidate;
mod checks;
pub mod cli;
mod clock;
pub mod config;
pub mod configurations;
mod dashboard;
mod flag_store;
mod http;
mod keeper;
mod leftovers;
mod notify;
mod offline;
pub mod paths;
mod pools;
mod resting;
pub mod serve;
pub mod storage;
mod switches;
mod tasks;
mod webhook;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
