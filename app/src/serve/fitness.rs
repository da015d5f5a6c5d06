//! Whether this configuration may be served, and whether this machine can.

use dspex_pool::python::PythonInfo;

use super::ServeError;
use crate::config::{Config, ConfigError};
use crate::pools::{ConfiguredPools, PoolSettings, PoolVersion};

/// Refuses to show an open programs API to a network.
pub(super) fn check_exposure(config: &Config) -> Result<(), ConfigError> {
    let bind = config.server.bind;
    if bind.ip().is_loopback() || config.server.programs_token_env.is_some() {
        return Ok(());
    }
    Err(ConfigError::of(
        "server.bind",
        format!("{bind} can be reached from other machines, and the programs API has no token"),
    )
    .written_in(config.origin("server.bind"))
    .hint(
        "set server.programs_token_env to the name of a variable that holds one, or bind 127.0.0.1",
    ))
}

/// Tells of models whose key is not there: their programs will fail, one call after the other.
pub(super) fn check_keys(config: &Config) {
    for (name, profile) in &config.lms {
        if let Some(variable) = &profile.api_key_env
            && std::env::var_os(variable).is_none()
        {
            tracing::warn!(
                model = name,
                variable,
                "the key of a language model is not set"
            );
        }
    }
}

/// Looks at the stable pool's interpreter before any worker is started with it: a worker that ends
/// at once says less. The candidate's is looked at when a migration begins.
pub(super) async fn check_python(
    stable: &PoolVersion,
    settings: &PoolSettings,
    pools: &ConfiguredPools,
) -> Result<(), ServeError> {
    let PythonInfo { version, dspy } = pools.probe(settings).await?;
    let (major, minor, patch) = version;
    match dspy {
        Some(dspy) => tracing::info!(pool = %stable, "Python {major}.{minor}.{patch}, DSPy {dspy}"),
        None if settings.launch(&pools.config, "".as_ref()).lms.is_empty() => {
            tracing::warn!(
                pool = %stable,
                "Python {major}.{minor}.{patch} has no DSPy: only callables can be served"
            );
        }
        None => {
            return Err(ServeError::NoDspy {
                python: settings.python(&pools.config).display().to_string(),
            });
        }
    }
    Ok(())
}
