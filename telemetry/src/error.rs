//! What can go wrong here: only setting up. Recording never fails.

/// The metrics recorder could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// Another recorder is this process's already, and it cannot be replaced.
    #[error("a metrics recorder is installed in this process already: install one, once")]
    AlreadyInstalled,
    /// The exporter refused its settings.
    #[error("the metrics exporter refused its settings: {0}")]
    Settings(#[from] metrics_exporter_prometheus::BuildError),
}

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error(
        "log filter {filter:?} is not valid: {reason} (try \"info\", or \"info,dspex_router=debug\")"
    )]
    Filter {
        /// The text that was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another subscriber takes this process's logs already.
    #[error("logs are set up in this process already: set them up once")]
    AlreadyInstalled,
}
