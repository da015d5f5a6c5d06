//! The worker pool contract, the wire, and the one module that starts Python.
//!
//! Read in this order: [`contract`](Pool) (what a pool is), [`Call`] and [`Reply`],
//! [`Program`] (what it runs), [`PoolError`] (what can go wrong), then how workers are started and
//! spoken to.
//!
//! This crate holds no policy: which worker, how many, when to restart is each pool's own.

mod bridge;
mod call;
mod clock;
mod contract;
mod error;
mod failure;
mod fault;
mod fork_server;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod launch;
mod process;
mod program;
pub mod python;
mod stream;
mod switches;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;
mod worker;

pub use bridge::{BridgeError, BridgeWorker};
pub use call::{Call, Reply, SessionState, Usage};
pub use contract::{
    Drained, Growth, Health, Pool, PoolStatus, SharedPool, WorkerChange, WorkerState, WorkerStatus,
};
pub use error::{Fault, PoolError};
pub use failure::{Failure, FailureClass, reported_time, without_last_words};
pub use fault::{Injected, Probed, WorkerFault};
pub use fork_server::{ForkServer, ForkServerOptions};
pub use launch::{LaunchSpec, LmProfile, WorkerLimits};
pub use process::{Exit, LastLines, Launch, Memory, Process, SpawnError, Spawner, Wire, WireEnd};
pub use program::{
    Definition, Field, InvalidDefinition, Module, Program, ProgramId, ProgramKey, Signature, Target,
};
pub use stream::{Chunk, ChunkReceiver, ChunkSender, chunks};
pub use switches::Switches;
pub use worker::{Engines, Hello, Liveness, StartError, Worker, WorkerOptions};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
