//! The dspex application: configuration, assembly, HTTP and the command line.
//!
//! Read in this order: [`config`] (what is asked for), `pools` (which kinds of pool there are; only
//! this module knows), `assemble` (the parts and how they hold together), `candidate` (how a
//! migration's candidate comes and goes), `keeper` (brings it back after a restart), `webhook` and `notify` (who is told),
//! [`serve`] (the life of a server), `http` (its face),
//! [`cli`] (the command line).

mod assemble;
mod auth;
mod candidate;
pub mod cli;
mod clock;
pub mod config;
mod dashboard;
mod http;
mod keeper;
mod notify;
mod offline;
pub mod paths;
mod pools;
pub mod serve;
pub mod storage;
mod switches;
mod tasks;
mod webhook;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
