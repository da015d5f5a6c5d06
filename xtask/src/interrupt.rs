//! Ctrl-C and SIGTERM, seen as a flag.
//!
//! Children run in process groups of their own, so a Ctrl-C in the terminal reaches only this
//! program. It must therefore not die of it: every wait asks [`Interrupt::check`], the error
//! unwinds the stack, and the guards on the way end what was started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The user, or the system, asked this program to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether this program was asked to end. Cheap to clone and to ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over SIGINT, SIGTERM and SIGHUP.
    pub(crate) fn install() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(Self(asked))
    }

    /// Whether it was asked to end.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails with [`Interrupted`] once it was asked to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.asked() {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// Sleeps, and wakes early with [`Interrupted`] when asked to end.
    pub(crate) fn sleep(&self, wait: Duration) -> Result<()> {
        let end = Instant::now() + wait;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_sleep_ends_with_the_reason() {
        let interrupt = Interrupt::default();
        interrupt.sleep(Duration::ZERO).expect("nobody asked yet");
        interrupt.0.store(true, Ordering::Relaxed);
        let error = interrupt
            .sleep(Duration::from_secs(3600))
            .expect_err("asked");
        assert!(error.is::<Interrupted>());
    }
}
