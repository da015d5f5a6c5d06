//! The multiplexing pool: several calls at once per worker, a bounded queue, sessions near their
//! workers, workers that are forked warm, watched, recycled and replaced, and a size that follows
//! the load.
//!
//! Read in this order: [`Config`], [`PoolV2`] and [`Switches`]; then `dispatcher` and `lease` (who
//! gets which worker), `affinity` and `limits` (what bears on it); `state` (a worker's life), `slot`
//! (how a worker is watched and replaced), `warmer` (how it is started); `fleet` and `tuner` (how
//! many there are); and the pure policies: `recovery`, `recycle`, `leak`, `optimizer`.

mod affinity;
#[doc(hidden)]
pub mod bench;
mod clock;
mod config;
mod dispatcher;
mod fleet;
mod leak;
mod lease;
mod limits;
mod optimizer;
mod pool;

mod recovery;
mod recycle;
mod seated;
#[cfg(test)]
mod seeded;
mod slot;
mod state;
mod trial;
mod tuner;
mod warmer;

pub use affinity::{AffinityConfig, AffinityMode};
pub use config::{Config, InvalidConfig};
pub use dspex_pool::Switches;
pub use leak::LeakConfig;
pub use optimizer::OptimizerConfig;
pub use pool::PoolV2;
pub use recovery::{RecoveryConfig, StartConfig};
pub use recycle::RecyclingConfig;
pub use warmer::{Strategy, WarmConfig};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
