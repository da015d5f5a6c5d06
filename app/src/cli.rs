//! The command line: what can be asked for, who does it, and what the process ends with.
//!
//! Read in this order: `exit` (exit codes and failures), `output` and `style` (where words go
//! and how they look), `client` and `problem` (talking to a server), `settings` (reading the
//! configuration), then a file for each command.
//!
//! Invariants: results go to standard output and everything else to standard error; with `--json`
//! standard output is JSON and nothing else; a command ends with one of the codes of `exit`.

mod backup;
mod circuits;
mod client;
mod completions;
mod config;
mod doctor;
mod events;
mod exit;
mod flags;
mod health;
mod man;
mod migrate;
mod notifications;
mod output;
mod pools;
mod problem;
mod programs;
mod serve;
mod settings;
mod shadow;
mod status;
mod style;
mod validate;
mod view;
mod who;
mod workers;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::{Exit, Failure};
use self::output::{Output, When};

/// Serves DSPy programs from pools of Python workers, and moves live traffic between pools.
#[derive(Debug, Parser)]
#[command(name = "dspex", version, after_help = exit::TABLE)]
#[command(arg_required_else_help = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colours; auto: where a terminal reads, unless NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output"
    )]
    color: When,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Check that this machine can run the server.
    Doctor(doctor::Doctor),
    /// Ask a server whether it lives and is ready.
    Health(health::Health),
    /// Show what a server is doing: lanes, pools, flags, migration.
    Status(status::Status),
    /// Show the pools and their workers, or one pool whole.
    #[command(visible_alias = "pool")]
    Pools(pools::Pools),
    /// Show the lanes' circuits, or decide for one in its place.
    #[command(visible_alias = "circuit")]
    Circuits(circuits::Circuits),
    /// Create, list, show, delete and execute programs.
    #[command(visible_alias = "program")]
    Programs(programs::Programs),
    /// Show copied calls, how their answers compare, and run a difference again.
    Shadow(shadow::Shadow),
    /// Read and write feature flags.
    #[command(visible_alias = "flag")]
    Flags(flags::Flags),
    /// Move live traffic from the stable pool to the candidate, and back.
    #[command(visible_alias = "migration")]
    Migrate(migrate::Migrate),
    /// Hold the candidate against stable: the same answers, as fast, and as hard to break.
    Validate(validate::Validate),
    /// Take the old pool out of service, for good, once a migration is complete.
    Decommission(migrate::Decommission),
    /// Try the notifications of the configuration.
    Notifications(notifications::Notifications),
    /// Keep everything that a server keeps in one file, prove such a file, restore it.
    Backup(backup::Backup),
    /// Show or check the configuration.
    Config(config::ConfigCommand),
    /// Print a completion script for a shell.
    Completions(completions::Completions),
    /// Write manual pages into a folder.
    Man(man::Man),
}

impl Command {
    /// Whether results are wanted as JSON.
    fn json(&self) -> bool {
        match self {
            Self::Serve(_) | Self::Completions(_) | Self::Man(_) => false,
            Self::Doctor(command) => command.format.json,
            Self::Health(command) => command.format.json,
            Self::Status(command) => command.format.json,
            Self::Pools(command) => command.format.json,
            Self::Circuits(command) => command.format.json,
            Self::Programs(command) => command.format.json,
            Self::Shadow(command) => command.format.json,
            Self::Flags(command) => command.format.json,
            Self::Migrate(command) => command.format.json,
            Self::Validate(command) => command.format.json,
            Self::Decommission(command) => command.format.json,
            Self::Notifications(command) => command.format.json,
            Self::Backup(command) => command.format.json,
            Self::Config(command) => command.format.json,
        }
    }

    fn run(self, output: Output) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run(),
            Self::Doctor(command) => block_on(command.run(output)),
            Self::Health(command) => block_on(command.run(output)),
            Self::Status(command) => block_on(command.run(output)),
            Self::Pools(command) => block_on(command.run(output)),
            Self::Circuits(command) => block_on(command.run(output)),
            Self::Programs(command) => block_on(command.run(output)),
            Self::Shadow(command) => block_on(command.run(output)),
            Self::Flags(command) => block_on(command.run(output)),
            Self::Migrate(command) => block_on(command.run(output)),
            Self::Validate(command) => block_on(command.run(output)),
            Self::Decommission(command) => block_on(command.run(output)),
            Self::Notifications(command) => block_on(command.run(output)),
            Self::Backup(command) => block_on(command.run(output)),
            Self::Config(command) => block_on(command.run(output)),
            Self::Completions(command) => command.run(output),
            Self::Man(command) => command.run(output),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    // clap prints help to standard output with code 0, and usage errors to standard error with 2.
    let cli = Cli::parse();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let output = Output::new(cli.command.json(), cli.color, plain);
    let exit = match cli.command.run(output) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

/// A client waits for one answer at a time: one thread is enough.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                Exit::Unfit,
                format_args!("cannot start the runtime: {error}"),
            )
        })?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_documents_the_exit_codes() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("3  this machine is not fit"), "{help}");
    }

    #[test]
    fn the_readme_names_every_command_and_every_exit_code() {
        let readme = include_str!("../README.md");
        for command in Cli::command().get_subcommands() {
            let mut verbs = command.get_subcommands().peekable();
            if verbs.peek().is_none() {
                let row = format!("| `dspex {}` |", command.get_name());
                assert!(readme.contains(&row), "{row} is missing");
            }
            for verb in verbs {
                let row = format!("| `dspex {} {}` |", command.get_name(), verb.get_name());
                assert!(readme.contains(&row), "{row} is missing");
            }
        }
        for line in exit::TABLE.lines().skip(1) {
            let (code, meaning) = line.trim().split_once("  ").unwrap();
            let row = format!("| {code} | {meaning} |");
            assert!(readme.contains(&row), "{row} is missing");
        }
    }

    #[test]
    fn json_is_understood_before_and_after_the_verb() {
        for line in [
            "dspex programs --json list",
            "dspex programs list --json",
            "dspex flags --json list",
            "dspex migrate status --json",
            "dspex status --json",
            "dspex config show --json",
            "dspex doctor --json",
            "dspex validate --quick --json",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.command.json(), "{line}");
        }
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        for line in [
            "dspex",
            "dspex programm",
            "dspex flags set pool_v2_enabled",
            "dspex flags set pool_v2_enabled true",
            "dspex migrate start",
            "dspex programs create",
            "dspex programs create qa --signature a->b --callable m:a",
            "dspex serve --set",
            "dspex serve --set novalue",
            "dspex status --timeout 5",
        ] {
            assert!(
                Cli::try_parse_from(line.split(' ')).is_err(),
                "{line:?} must be refused"
            );
        }
    }
}
