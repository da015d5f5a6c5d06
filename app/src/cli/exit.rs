//! Exit codes, and the failure that carries one to the end of the process: the one file that maps
//! errors to exit codes.
//!
//! Invariant: every failing path ends as one [`Failure`]: one line that says what failed, and a
//! line for each thing that can be done about it. Scripts read the code, people read the lines.

use std::fmt::Display;
use std::io;

use crate::config::ConfigError;
use crate::serve::ServeError;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// The operation failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// This machine is not fit: no Python, port in use, data directory locked, ...
    Unfit = 3,
    /// No server answered.
    Unreachable = 4,
    /// The server refused: conflict, not found, not allowed, not valid.
    Refused = 5,
}

/// Shown below `dspex help`.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  the operation failed (a call failed, a server is not ready, a watched migration rolled back)
  2  the command line or the configuration is wrong
  3  this machine is not fit (no Python or DSPy, port in use, data directory locked, database unreadable)
  4  the server cannot be reached
  5  the server refused (not allowed, not found, conflict, not valid)";

impl Exit {
    /// The code as the operating system takes it.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command ends without having done what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) exit: Exit,
    /// One line. Empty where everything has been said already, or nobody listens.
    pub(crate) message: String,
    /// What to do next, a line each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hints: Vec::new(),
        }
    }

    /// The command line or the configuration is wrong.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Ends with a code where the output already says why.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Adds what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }
}

impl From<io::Error> for Failure {
    /// For writes to standard output. A reader who has left (`dspex … | head`) has what it wanted.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::silent(Exit::Ok)
        } else {
            Self::new(Exit::Failed, format_args!("cannot write output: {error}"))
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(mut error: ConfigError) -> Self {
        // On a line of its own.
        let hint = error.hint.take();
        let mut failure = Self::new(Exit::Usage, error);
        failure.hints.extend(hint);
        failure
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let exit = if error.is_configuration() {
            Exit::Usage
        } else {
            Exit::Unfit
        };
        let hint = error.hint();
        let mut failure = match error {
            ServeError::Config(error) => return Self::from(error),
            error => Self::new(exit, error),
        };
        failure.hints.extend(hint);
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_error_is_a_usage_error_with_its_hint() {
        let error =
            ConfigError::of("server.bnd", "no such setting").hint("did you mean `server.bind`?");
        let failure = Failure::from(ServeError::Config(error));
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.message, "`server.bnd`: no such setting");
        assert_eq!(failure.hints, ["did you mean `server.bind`?"]);
    }

    #[test]
    fn a_port_in_use_is_an_unfit_machine() {
        let failure = Failure::from(ServeError::Listen {
            address: ([127, 0, 0, 1], 8080).into(),
            source: io::ErrorKind::AddrInUse.into(),
        });
        assert_eq!(failure.exit, Exit::Unfit);
        assert!(
            failure.message.contains("127.0.0.1:8080"),
            "{}",
            failure.message
        );
        assert!(failure.hints[0].contains("server.bind"));
    }

    #[test]
    fn a_reader_who_left_is_no_failure() {
        let left = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((left.exit, left.message.as_str()), (Exit::Ok, ""));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit, Exit::Failed);
    }

    #[test]
    fn the_table_names_every_code() {
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Unfit,
            Exit::Unreachable,
            Exit::Refused,
        ] {
            let line = format!("\n  {}  ", exit.code());
            assert!(TABLE.contains(&line), "{exit:?} is not documented");
        }
    }
}
