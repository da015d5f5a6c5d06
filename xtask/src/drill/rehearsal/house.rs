//! What happens to the house during a drill: a candidate that breaks, a server that ends.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::process::Signal;

use super::{Away, FAULTS, InVain, Rehearsal, Trigger};

impl Rehearsal<'_> {
    /// Breaks the candidate: see `faults.py`.
    pub(in crate::drill) fn faults(&self, faults: &str) -> Result<()> {
        let path = self.folder.path().join(FAULTS);
        // Renamed into its place: no worker may read half a fault.
        let new = path.with_extension("new");
        std::fs::write(&new, faults)
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the moment at which the first fault struck, as the worker has left it.
    pub(in crate::drill) fn note_first_fault(&mut self) {
        let note = self.folder.path().join(FAULTS).with_extension("first");
        let seconds = std::fs::read_to_string(note)
            .ok()
            .and_then(|text| text.trim().parse::<f64>().ok());
        let at = seconds.and_then(|seconds| {
            #[expect(clippy::cast_possible_truncation, reason = "microseconds fit for ages")]
            let micros = (seconds * 1e6) as i64;
            Timestamp::from_microsecond(micros).ok()
        });
        if let Some(at) = at
            && self.triggers.is_empty()
        {
            let ago = Timestamp::now().duration_since(at);
            let ago = Duration::try_from(ago).unwrap_or_default();
            self.triggers.push(Trigger {
                at,
                seen: self.ledger.now().saturating_sub(ago),
                what: "the first fault",
            });
        }
    }

    /// SIGKILL to the server alone.
    pub(in crate::drill) fn kill(&mut self) -> Result<()> {
        let server = self.server.take().context("no server runs")?;
        self.goes_away();
        server.kill();
        self.look_for_candidate();
        Ok(())
    }

    /// SIGTERM to the server, and waits until it has ended well.
    pub(in crate::drill) fn terminate(&mut self) -> Result<()> {
        let server = self.server.take().context("no server runs")?;
        self.goes_away();
        let ended = server.stop();
        self.look_for_candidate();
        ended.map_err(|error| InVain(format!("{error:#}")).into())
    }

    fn goes_away(&mut self) {
        self.aways.push(Away {
            from: self.ledger.now(),
            back: Duration::MAX,
        });
    }

    /// The next server's candidate is waited for. The last one is gone: nobody hears it speak of its own.
    fn look_for_candidate(&self) {
        if let Some(observer) = &self.observer {
            observer.look_for_candidate(self.ledger.now());
        }
    }

    /// Starts the server again, on the same folder and port.
    pub(in crate::drill) fn start_again(&mut self) -> Result<()> {
        let server = self.launch.start(self.interrupt);
        self.server = Some(server.map_err(|error| InVain(format!("{error:#}")))?);
        if let Some(away) = self.aways.last_mut() {
            away.back = self.ledger.now();
        }
        Ok(())
    }

    /// Sends a signal to the server alone.
    pub(in crate::drill) fn signal(&self, signal: Signal) -> Result<()> {
        let server = self.server.as_ref().context("no server runs")?;
        server.signal(signal)
    }

    /// The server's process.
    pub(in crate::drill) fn pid(&self) -> Result<i32> {
        let server = self.server.as_ref().context("no server runs")?;
        Ok(server.pid())
    }

    /// The migration's phase and share, as they were seen last.
    pub(in crate::drill) fn last_seen(&self) -> String {
        let observer = self.observer.as_ref();
        let last = observer.and_then(|observer| observer.status_after(Duration::ZERO));
        last.map_or("nothing".to_owned(), |status| {
            format!("{} {} %", status.phase, status.percent)
        })
    }

    /// Whether the server runs, as far as it is known.
    pub(in crate::drill) fn is_open(&self) -> bool {
        self.server.is_some()
    }
}
