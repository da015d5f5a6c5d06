//! `dspex man`: manual pages, one for each command.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::exit::{Exit, Failure};
use super::output::Output;

/// Write manual pages into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dspex man ~/.local/share/man/man1 && man dspex-migrate-start")]
pub(crate) struct Man {
    /// The folder; it is made where it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    /// Writes the pages.
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(super::Cli::command(), &self.folder))
            .map_err(|error| {
                Failure::new(
                    Exit::Unfit,
                    format_args!(
                        "the manual pages cannot be written into {}: {error}",
                        self.folder.display()
                    ),
                )
            })?;
        output.line(&self.folder.display().to_string())
    }
}
