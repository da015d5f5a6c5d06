//! `dspex doctor`: whether this machine can run the server, check by check, each with what was
//! measured, what is asked for, and what to do where the two differ.
//!
//! Invariant: looking changes nothing. No folder is made, no database is written, no port is kept.

mod machine;
mod python;
mod storage;

use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::output::{Format, Output};
use super::settings::Settings;
use super::style::{Paint, Tone, dim, plain};
use crate::config::Config;

/// Check that this machine can run the server.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// The server will run, but not all that is configured will work.
    Warning,
    /// The server cannot run like this.
    Unfit,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What was measured.
    pub(crate) value: String,
    /// What is asked for.
    pub(crate) limit: String,
    /// What to do, where something is to be done.
    pub(crate) hint: Option<String>,
}

impl Check {
    /// A check that was passed.
    pub(crate) fn ok(name: impl Into<String>, value: impl Into<String>, limit: &str) -> Self {
        Self {
            name: name.into(),
            verdict: Verdict::Ok,
            value: value.into(),
            limit: limit.to_owned(),
            hint: None,
        }
    }

    /// The same, not passed.
    #[must_use]
    pub(crate) fn but(self, verdict: Verdict, hint: impl Into<String>) -> Self {
        Self {
            verdict,
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl Doctor {
    /// Looks at everything, then says how it is.
    pub(crate) async fn run(self, output: Output) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let checks = examine(&config).await;
        output.either(
            &serde_json::json!({"fit": fit(&checks), "checks": checks}),
            |paint| report(&checks, paint),
        )?;
        if fit(&checks) {
            Ok(())
        } else {
            Err(Failure::silent(Exit::Unfit))
        }
    }
}

async fn examine(config: &Config) -> Vec<Check> {
    let mut checks = python::examine(config).await;
    checks.extend(storage::examine(config).await);
    checks.extend(machine::examine(config));
    checks
}

fn fit(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict < Verdict::Unfit)
}

fn report(checks: &[Check], paint: Paint) -> String {
    let rows = checks.iter().map(|check| {
        let verdict = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Warn),
            Verdict::Unfit => ("unfit", Tone::Bad),
        };
        [
            (verdict.0.to_owned(), verdict.1),
            plain(&check.name),
            plain(&check.value),
            dim(&check.limit),
        ]
    });
    let mut text = paint.table(["", "CHECK", "MEASURED", "LIMIT"], rows);
    for check in checks {
        if let Some(hint) = &check.hint {
            let label = paint.text(Tone::Good, "hint:");
            let hint = paint.text(Tone::Plain, hint);
            text.push_str(&format!("\n{label} {}: {hint}", check.name));
        }
    }
    let unfit = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Unfit)
        .count();
    let (summary, tone) = match unfit {
        0 => ("this machine can run the server".to_owned(), Tone::Good),
        1 => (
            "1 check says that the server cannot run here".to_owned(),
            Tone::Bad,
        ),
        n => (
            format!("{n} checks say that the server cannot run here"),
            Tone::Bad,
        ),
    };
    text.push_str(&format!("\n{}", paint.text(tone, &summary)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_fit_and_the_report_says_what_to_do() {
        let checks = [
            Check::ok("python", "3.11.7", "3.10 or newer"),
            Check::ok("dspy", "not installed", "installed")
                .but(Verdict::Warning, "pip install dspy"),
        ];
        assert!(fit(&checks));
        assert_eq!(
            report(&checks, Paint::new(false)),
            "         CHECK   MEASURED       LIMIT\n\
             ok       python  3.11.7         3.10 or newer\n\
             warning  dspy    not installed  installed\n\
             hint: dspy: pip install dspy\n\
             this machine can run the server"
        );
    }

    #[test]
    fn one_unfit_check_makes_the_machine_unfit() {
        let checks = [
            Check::ok("port", "in use", "free").but(Verdict::Unfit, "stop the other"),
            Check::ok("python", "3.11.7", "3.10 or newer"),
        ];
        assert!(!fit(&checks));
        assert!(
            report(&checks, Paint::new(false))
                .ends_with("1 check says that the server cannot run here")
        );
    }
}
