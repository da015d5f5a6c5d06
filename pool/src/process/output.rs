//! What a child writes to its standard output and error becomes log events.
//!
//! Invariants:
//! - The stream is always read to its end, as fast as the child writes: a child never waits for its
//!   log. What is over the rate is dropped, and its number told once a second.
//! - What is kept is bounded: a line is cut at some kilobytes, and only the last ones stay.
//! - A line that Python printed during a call begins with a label, which is taken off and becomes
//!   the event's program and request. It is the child's word, and nothing is decided by it.

mod budget;
mod label;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::Instant;

use self::budget::Budget;
use super::Exit;

/// A longer line is cut into pieces of this many bytes.
const LONGEST_LINE: usize = 8 * 1024;
/// How many lines are kept to explain an exit.
const KEPT: usize = 20;
/// Once the child is gone, a stream that is silent for this long is read no further: somebody else
/// may hold its other end.
const SILENCE: Duration = Duration::from_secs(1);

/// The last lines that a child wrote.
#[derive(Debug, Default)]
pub struct LastLines(Mutex<VecDeque<String>>);

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.lines();
        // The buffer of the line that goes serves the one that comes.
        let mut kept = if lines.len() < KEPT {
            String::new()
        } else {
            lines.pop_front().unwrap_or_default()
        };
        kept.clear();
        kept.push_str(line);
        lines.push_back(kept);
    }

    /// The last line that is not blank.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        let lines = self.lines();
        lines
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
    }

    /// Every kept line, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.lines().iter().cloned().collect()
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the two streams of a child have in common.
#[derive(Debug)]
pub(super) struct Log {
    name: String,
    pid: u32,
    last: Arc<LastLines>,
    budget: Mutex<Budget>,
    /// Closes when nobody reads any more.
    _read: watch::Sender<()>,
}

impl Log {
    /// A log, and a channel that closes once every stream was read to its end.
    pub(super) fn new(name: &str, pid: u32, last: Arc<LastLines>) -> (Self, watch::Receiver<()>) {
        let (read, all_read) = watch::channel(());
        let log = Self {
            name: name.to_owned(),
            pid,
            last,
            budget: Mutex::new(Budget::new(Instant::now())),
            _read: read,
        };
        (log, all_read)
    }

    fn line(&self, line: &[u8], from: &'static str) {
        let (label, text) = label::split(line);
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches('\r');
        self.last.push(text);
        if !self.budget().take(Instant::now()) {
            return;
        }
        let (program, request) = label.unzip();
        let (worker, pid) = (&self.name, self.pid);
        tracing::info!(
            target: "dspex::worker",
            worker,
            pid,
            from,
            program = program.as_deref(),
            request_id = request.as_deref(),
            "{text}"
        );
    }

    fn tell_dropped(&self, dropped: Option<u64>) {
        if let Some(dropped) = dropped {
            let (worker, pid) = (&self.name, self.pid);
            tracing::warn!(
                target: "dspex::worker",
                worker,
                pid,
                dropped,
                "{dropped} lines were dropped: it writes more than the log takes"
            );
        }
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until the end of the stream.
pub(super) async fn follow(
    mut stream: impl AsyncRead + Unpin,
    from: &'static str,
    log: Arc<Log>,
    mut exit: watch::Receiver<Option<Exit>>,
) {
    let mut chunk = vec![0_u8; 64 * 1024];
    let mut line = Vec::new();
    let mut is_gone = false;
    loop {
        let report_at = log.budget().report_at();
        let silent_at = Instant::now() + SILENCE;
        let read = tokio::select! {
            // In this order: what can be read is no silence, however late we come to look.
            biased;
            () = tokio::time::sleep_until(report_at.unwrap_or(silent_at)), if report_at.is_some() => {
                let dropped = log.budget().report(Instant::now());
                log.tell_dropped(dropped);
                continue;
            }
            read = stream.read(&mut chunk) => read.unwrap_or(0),
            // Closed once the child is reaped.
            changed = exit.changed(), if !is_gone => {
                is_gone = changed.is_err();
                continue;
            }
            () = tokio::time::sleep_until(silent_at), if is_gone => 0,
        };
        if read == 0 {
            break;
        }
        let mut rest = &chunk[..read];
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            take(&mut line, &rest[..end], |line| log.line(line, from));
            log.line(&line, from);
            line.clear();
            rest = &rest[end + 1..];
        }
        take(&mut line, rest, |line| log.line(line, from));
    }
    if !line.is_empty() {
        log.line(&line, from);
    }
    let dropped = log.budget().report_all();
    log.tell_dropped(dropped);
}

/// Adds to a line, and cuts it where it is too long.
fn take(line: &mut Vec<u8>, mut more: &[u8], mut cut: impl FnMut(&[u8])) {
    while line.len() + more.len() > LONGEST_LINE {
        let (now, later) = more.split_at(LONGEST_LINE - line.len());
        line.extend_from_slice(now);
        cut(line);
        line.clear();
        more = later;
    }
    line.extend_from_slice(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_nothing_of_it_is_lost() {
        let mut pieces = Vec::new();
        let mut line = Vec::new();
        for _ in 0..5 {
            take(&mut line, &[b'x'; 5000], |piece| pieces.push(piece.len()));
        }
        assert_eq!(pieces, [LONGEST_LINE; 3]);
        assert_eq!(pieces.iter().sum::<usize>() + line.len(), 25_000);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let lines = LastLines::default();
        for number in 0..50 {
            lines.push(&number.to_string());
        }
        lines.push("  ");
        assert_eq!(lines.last().as_deref(), Some("49"));
        assert_eq!(lines.all().len(), KEPT);
    }
}
