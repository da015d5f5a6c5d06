//! Structured logs on stderr, as text for people or JSON for machines. Standard output stays
//! free for data.

use std::io::{self, IsTerminal};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::LogError;

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured where stderr is a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines: a level, and `target=level` for exceptions, separated by commas.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
        }
    }
}

/// Sends this process's logs to stderr.
///
/// # Errors
///
/// When the filter is not valid, and when the process has set up its logs already.
pub fn init_logs(config: LogConfig) -> Result<(), LogError> {
    let colour = io::stderr().is_terminal();
    let filter = parse_filter(config.filter)?;
    subscriber(config.format, filter, colour, io::stderr)
        .try_init()
        .map_err(|_| LogError::AlreadyInstalled)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    to: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(to);
    match format {
        LogFormat::Text => Box::new(builder.with_ansi(colour).finish()),
        LogFormat::Json => {
            let builder = builder.with_ansi(false).json().flatten_event(true);
            Box::new(
                builder
                    .with_current_span(true)
                    .with_span_list(false)
                    .finish(),
            )
        }
    }
}

fn parse_filter(filter: String) -> Result<EnvFilter, LogError> {
    match objection(&filter) {
        Some(reason) => Err(LogError::Filter { filter, reason }),
        None => {
            // The parser takes no space after a comma; people write one.
            let parts: Vec<&str> = filter.split(',').map(str::trim).collect();
            EnvFilter::builder()
                .parse(parts.join(","))
                .map_err(|error| {
                    let reason = error.to_string();
                    LogError::Filter { filter, reason }
                })
        }
    }
}

/// What is wrong with a filter that its parser would take. The parser takes a bare word for a
/// target, so "inof" would switch everything off but a module of that name, without a word.
fn objection(filter: &str) -> Option<String> {
    if filter.trim().is_empty() {
        return Some("it is empty, which would log errors alone".to_owned());
    }
    filter
        .split(',')
        .map(str::trim)
        .find(|part| {
            let bare = !part.contains(['=', '[', '{', '}', ']']);
            bare && !part.is_empty() && part.parse::<LevelFilter>().is_err()
        })
        .map(|part| format!("{part:?} is not a level (for a module write \"{part}=debug\")"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = parse_filter(filter.to_owned()).unwrap();
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_fields_and_the_request() {
        let text = logged(LogFormat::Json, "info", || {
            let _span = tracing::info_span!("request", request_id = "r-1").entered();
            tracing::info!(lane = "stable", "answered");
            tracing::debug!("not asked for");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "answered");
        assert_eq!(line["lane"], "stable");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["span"]["request_id"], "r-1");
    }

    #[test]
    fn text_lines_have_no_colour_where_none_is_asked_for() {
        let text = logged(LogFormat::Text, "warn,dspex_telemetry=info", || {
            tracing::info!(target: "dspex_telemetry", lane = "stable", "answered");
            tracing::info!(target: "elsewhere", "not asked for");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("answered lane=\"stable\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_bad_filter_is_refused_with_its_text() {
        for filter in [
            "",
            "inof",
            "info,debgu",
            "info,router=loud",
            "info,a[b=debug",
        ] {
            let error = parse_filter(filter.to_owned()).unwrap_err().to_string();
            assert!(error.contains(&format!("{filter:?}")), "{error}");
        }
    }

    #[test]
    fn good_filters_are_taken() {
        for filter in [
            "info",
            "OFF",
            "warn, dspex_router=debug",
            "info,[request{id=1}]=trace",
        ] {
            assert!(parse_filter(filter.to_owned()).is_ok(), "{filter}");
        }
    }

    #[test]
    fn settings_have_defaults_and_no_strangers() {
        assert_eq!(
            serde_json::from_str::<LogConfig>("{}").unwrap(),
            LogConfig::default()
        );
        let config: LogConfig = serde_json::from_str(r#"{"format":"json"}"#).unwrap();
        assert_eq!(config.format, LogFormat::Json);
        assert!(serde_json::from_str::<LogConfig>(r#"{"colour":true}"#).is_err());
    }
}
