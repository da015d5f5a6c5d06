//! The multiplexing pool: several calls at once per worker, a bounded queue, session affinity as
//! a hint, workers that are watched and replaced.
//!
//! Read in this order: [`Config`], [`PoolV2`], then `dispatcher` and `lease` (who gets which
//! worker), `affinity` (which one is preferred) and `slot` (how a worker is watched and replaced).

mod affinity;
mod config;
mod dispatcher;
#[cfg_attr(not(test), expect(dead_code, reason = "the pool does not call it yet"))]
mod leak;
mod lease;
#[cfg_attr(not(test), expect(dead_code, reason = "the pool does not call it yet"))]
mod optimizer;
mod pool;
#[cfg_attr(not(test), expect(dead_code, reason = "the pool does not call it yet"))]
mod recovery;
#[cfg_attr(not(test), expect(dead_code, reason = "the pool does not call it yet"))]
mod recycle;
#[cfg(test)]
mod seeded;
mod slot;

pub use config::{Config, InvalidConfig};
pub use leak::LeakConfig;
pub use optimizer::OptimizerConfig;
pub use pool::PoolV2;
pub use recovery::{RecoveryConfig, StartConfig};
pub use recycle::RecyclingConfig;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
