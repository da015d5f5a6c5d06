//! Where a command's words go: results to standard output, remarks and errors to standard error.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::Failure;
use super::style::{Paint, Tone, printable};

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    // No doc comments: clap would make a paragraph of each, in the help of every command.
    #[default]
    Auto,
    Always,
    Never,
}

/// For machines or for people.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Format {
    /// Print JSON for machines instead of text for people.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Standard output and standard error, each with colours or without.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether results are printed as JSON.
    pub(crate) json: bool,
    /// Colours of standard output.
    pub(crate) paint: Paint,
    err: Paint,
}

impl Output {
    /// Looks at what reads the two streams. `plain`: the user wants no colours by default.
    pub(crate) fn new(json: bool, when: When, plain: bool) -> Self {
        let on = |terminal: bool| match when {
            When::Auto => terminal && !plain,
            When::Always => true,
            When::Never => false,
        };
        Self {
            json,
            paint: Paint::new(on(io::stdout().is_terminal())),
            err: Paint::new(on(io::stderr().is_terminal())),
        }
    }

    /// Prints a value as JSON, indented: on its own it is a document.
    pub(crate) fn value(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.line(&text)
    }

    /// Prints a value as one line of JSON: one of many.
    pub(crate) fn value_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from)?;
        self.line(&text)
    }

    /// Prints text that was painted already, and an end of line.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// The server's JSON for machines, or what `text` makes of it for people.
    pub(crate) fn either<V: Serialize>(
        self,
        value: &V,
        text: impl FnOnce(Paint) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.value(value)
        } else {
            self.line(&text(self.paint))
        }
    }

    /// A remark beside the result; never mixed into what a machine reads.
    pub(crate) fn note(self, text: &str) {
        // Nobody reading standard error is no reason to fail.
        let _ = writeln!(io::stderr(), "{}", self.err.text(Tone::Dim, text));
    }

    /// `error: …`, then `hint: …` for each hint.
    pub(crate) fn failure(self, failure: &Failure) {
        if !failure.message.is_empty() {
            let _ = io::stderr().write_all(render(failure, self.err).as_bytes());
        }
    }
}

fn render(failure: &Failure, paint: Paint) -> String {
    let label = paint.text(Tone::Bad, "error:");
    let mut text = format!("{label} {}\n", one_line(&failure.message));
    for hint in &failure.hints {
        let label = paint.text(Tone::Good, "hint:");
        text.push_str(&format!("{label} {}\n", one_line(hint)));
    }
    text
}

/// A program's exception may have many lines; an error has one.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    printable(&lines.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn a_failure_is_one_error_line_and_its_hints() {
        let failure = Failure::new(Exit::Refused, "no program\n  \"qa\"\n")
            .hint("did you mean \"qa2\"?")
            .hint("see `dspex programs list`");
        assert_eq!(
            render(&failure, Paint::new(false)),
            "error: no program; \"qa\"\nhint: did you mean \"qa2\"?\nhint: see `dspex programs list`\n"
        );
        assert!(render(&failure, Paint::new(true)).starts_with("\x1b[31merror:\x1b[0m no"));
    }
}
