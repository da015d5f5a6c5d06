//! Which metrics recorder figures go to: the one that the process installed, or one that was
//! handed in, so that tests and embedders need no global.

use crate::Prometheus;

#[derive(Debug, Clone)]
pub(crate) enum Sink {
    Installed,
    Own(Prometheus),
}

impl Sink {
    /// Runs `make`, in which the macros of `metrics` make handles on this sink's recorder.
    pub(crate) fn with<T>(&self, make: impl FnOnce() -> T) -> T {
        match self {
            Self::Installed => make(),
            Self::Own(prometheus) => metrics::with_local_recorder(prometheus.recorder(), make),
        }
    }
}
