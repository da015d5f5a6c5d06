//! One line that says what is being waited for: redrawn on a terminal, plain elsewhere.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A long step, from its start to its end. Everything goes to standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    started: Instant,
    plain: bool,
    said: Cell<Duration>,
}

impl Progress {
    /// Says that a step begins.
    pub(crate) fn start(what: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        let plain = bar.is_hidden();
        if plain {
            eprintln!("{what} …");
        } else {
            let style =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg:.dim}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar.set_prefix(what.to_owned());
        }
        Self {
            bar,
            what: what.to_owned(),
            started: Instant::now(),
            plain,
            said: Cell::new(Duration::ZERO),
        }
    }

    /// A step that nobody watches.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            what: String::new(),
            started: Instant::now(),
            plain: false,
            said: Cell::new(Duration::ZERO),
        }
    }

    /// Shows the latest detail. Without a terminal it says every ten seconds that it still runs.
    pub(crate) fn tick(&self, detail: &str) {
        if self.plain {
            let elapsed = self.started.elapsed();
            if elapsed - self.said.get() >= Duration::from_secs(10) {
                self.said.set(elapsed);
                eprintln!("{} … {} s: {detail}", self.what, elapsed.as_secs());
            }
        } else {
            self.bar.set_message(detail.to_owned());
            self.bar.tick();
        }
    }

    /// Says that the step is done.
    pub(crate) fn done(&self, result: &str) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        eprintln!("{}: {result} ({seconds:.1} s)", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
    }
}
