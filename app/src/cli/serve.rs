//! `dspex serve`: runs the server until it is told to stop.

use clap::Args;

use super::exit::Failure;
use super::settings::Settings;

/// Run the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Settings come from, the later one wins: the defaults, the file, the environment
(DSPEX_SECTION__KEY, such as DSPEX_SERVER__BIND), then the options given here.
See them with `dspex config show`. SIGTERM and SIGINT drain calls in flight and end.")]
pub(crate) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    /// Runs it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        Ok(crate::serve::run(config)?)
    }
}
