//! The multiplexing pool, `pool-v2`.

use std::sync::Arc;

use super::{Kind, Starter, Surroundings, deserialize};
use crate::config::LEAST_PROCESSES;
use async_trait::async_trait;
use dspex_pool::{LaunchSpec, PoolError, SharedPool};
use dspex_pool_v2::{Config, PoolV2};

pub(super) const KIND: Kind = Kind {
    name: "pool-v2",
    // `default.toml` already has this kind's pool.
    defaults: "",
    parse: |section| Ok(Arc::new(deserialize::<Config>(section)?)),
};

#[async_trait]
impl Starter for Config {
    fn check(&self) -> Result<(), (&'static str, String)> {
        Config::check(self).map_err(|error| {
            (
                error.setting,
                format!("{}: {}", error.value, error.expected),
            )
        })
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    fn workers(&self) -> usize {
        self.workers
    }

    fn processes_of_a_worker(&self) -> u64 {
        // A thread for each sync call.
        LEAST_PROCESSES.saturating_add(u64::try_from(self.concurrency).unwrap_or(u64::MAX))
    }

    async fn start(
        &self,
        name: &str,
        launch: LaunchSpec,
        around: Surroundings,
    ) -> Result<SharedPool, PoolError> {
        let pool = PoolV2::start(
            name,
            self.clone(),
            launch,
            around.spawner,
            &around.tracker,
            around.switches,
        )
        .await?;
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_pools_own() {
        let documented = crate::pools::documented::<Config>(crate::config::DEFAULT_TOML, "v2");
        assert_eq!(documented, Config::default());
    }
}
