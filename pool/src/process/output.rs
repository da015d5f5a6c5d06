//! What a child writes to its standard error (and output) becomes log lines.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A longer line is cut into pieces of this many bytes.
const LONGEST_LINE: usize = 8 * 1024;
/// How many lines are kept to explain an exit.
const KEPT: usize = 20;

/// The last lines that a child wrote.
#[derive(Debug, Default)]
pub struct LastLines(Mutex<VecDeque<String>>);

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The last line that is not blank.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .rev()
            .find(|line| !line.trim().is_empty())
            .cloned()
    }

    /// Every kept line, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

/// Reads until the end of the stream, a log event for each line.
pub(super) async fn follow(
    mut stream: impl AsyncRead + Unpin,
    name: String,
    pid: u32,
    from: &'static str,
    last: std::sync::Arc<LastLines>,
) {
    let mut chunk = vec![0_u8; 4096];
    let mut line = Vec::new();
    let emit = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches('\r');
        last.push(text);
        tracing::info!(target: "dspex::worker", worker = %name, pid, from, "{text}");
        line.clear();
    };
    loop {
        let read = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        for &byte in &chunk[..read] {
            if byte == b'\n' {
                emit(&mut line);
            } else {
                line.push(byte);
                if line.len() == LONGEST_LINE {
                    emit(&mut line);
                }
            }
        }
    }
    if !line.is_empty() {
        emit(&mut line);
    }
}
