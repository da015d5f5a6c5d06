//! `dspex completions`: a script that completes commands and options in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::Failure;
use super::output::Output;

/// Print a completion script.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  dspex completions bash > ~/.local/share/bash-completion/completions/dspex")]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        // Into memory first: the generator panics where its writer fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "dspex", &mut script);
        output.line(String::from_utf8_lossy(&script).trim_end())
    }
}
