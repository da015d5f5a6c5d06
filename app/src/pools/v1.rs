//! The simple pool, `pool-v1`: the one file of the app that knows it.
//!
//! While it is built in it stands in the stable lane, with `pool-v2` as its candidate. Without this
//! file `pool-v2` is the stable pool of the defaults.

use std::sync::Arc;

use super::{Kind, Starter, Surroundings, deserialize};
use crate::config::LEAST_PROCESSES;
use async_trait::async_trait;
use dspex_pool::{LaunchSpec, PoolError, SharedPool};
use dspex_pool_v1::{Config, PoolV1};

pub(super) const KIND: Kind = Kind {
    name: "pool-v1",
    defaults: r#"
[lanes]
stable = "v1"
candidate = "v2"

[pools.v1]
kind = "pool-v1"
# Worker processes; each runs one call at a time. As pool-v2's, so that the two compare.
workers = 4
# "pool-worker": programs live inside their session. "standalone": one worker for everything.
mode = "pool-worker"
# Program and first arguments of a worker; any script that speaks the bridge protocol. Empty: our own bridge.
command = []
# How long a worker may take to answer its first ping.
start_timeout = "30s"
# How long a call may wait for a worker.
queue_wait = "5s"
# How many calls may wait for a worker.
queue_limit = 1000
# How long a call that was given up may go on in its worker before the worker is replaced.
give_up_after = "5s"
# How long a worker may take to end when it is asked to.
shutdown_timeout = "10s"
# Sessions that a worker keeps programs for; the oldest is cleaned up beyond that.
sessions_per_worker = 256
"#,
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
        self.size()
    }

    fn processes_of_a_worker(&self) -> u64 {
        LEAST_PROCESSES
    }

    async fn start(
        &self,
        name: &str,
        launch: LaunchSpec,
        around: Surroundings,
    ) -> Result<SharedPool, PoolError> {
        let pool =
            PoolV1::start(name, self.clone(), launch, around.spawner, &around.tracker).await?;
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_pools_own() {
        let documented = crate::pools::documented::<Config>(KIND.defaults, "v1");
        assert_eq!(documented, Config::default());
    }

    #[test]
    fn defaults_of_another_kind_do_not_stay_behind() {
        let config = crate::config::Config::load(&crate::config::Sources {
            set: vec!["pools.v2.kind=pool-v1".to_owned()],
            ..Default::default()
        });
        assert_eq!(config.unwrap().pool("v2").unwrap().kind(), "pool-v1");
    }
}
