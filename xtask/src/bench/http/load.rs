//! Closed loops: each connection sends its next request when the last was answered, or has failed.
//!
//! Invariants: every request ends in exactly one note; an answer is well only if it is a 200 with the
//! text that was sent; nothing is sent twice. After a failure a loop waits a moment, as a client would,
//! so that refusals are not counted by how fast they come.

use std::io::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::connection::{Connection, request};

/// A request that takes longer has failed.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// Between one connection and the next: processes that share a listening socket would else leave all of
/// them to the one that wakes first.
const APART: Duration = Duration::from_millis(10);
/// Between a failure and the next request.
const REST: Duration = Duration::from_millis(10);

/// What is asked, of whom, and what must come back.
#[derive(Debug, Clone)]
pub(super) struct Question {
    address: SocketAddr,
    request: Vec<u8>,
    text: String,
    envelope: bool,
}

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) ended: Instant,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// Whether it was answered as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// By this process.
    Well(i32),
    Failed(Failure),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection, or it ended, or nothing came in time.
    Connection,
    /// Another status than 200.
    Status(u16),
    /// Not what was asked.
    Answer,
}

/// What the callable answers.
#[derive(Deserialize)]
struct Echo {
    text: String,
    pid: i32,
}

/// What dspex puts it into.
#[derive(Deserialize)]
struct Envelope {
    outputs: Echo,
}

impl Question {
    /// Asks for an echo of this text. dspex has its inputs and outputs in an envelope.
    pub(super) fn new(address: SocketAddr, path: &str, text: &str, envelope: bool) -> Self {
        let mut body = serde_json::json!({ "text": text });
        if envelope {
            body = serde_json::json!({ "inputs": body });
        }
        Self {
            address,
            request: request(address, path, &body.to_string()),
            text: text.to_owned(),
            envelope,
        }
    }

    /// Asks once, on a connection of its own.
    pub(super) fn once(&self) -> Outcome {
        self.ask(&mut None)
    }

    /// Asks on the connection, on a new one where there is none.
    fn ask(&self, connection: &mut Option<Connection>) -> Outcome {
        let response = Self::connected(connection, self.address)
            .and_then(|connection| connection.ask(&self.request));
        let Ok(response) = response else {
            *connection = None;
            return Outcome::Failed(Failure::Connection);
        };
        if !response.kept {
            *connection = None;
        }
        if response.status != 200 {
            return Outcome::Failed(Failure::Status(response.status));
        }
        let echo = if self.envelope {
            serde_json::from_slice(&response.body).map(|envelope: Envelope| envelope.outputs)
        } else {
            serde_json::from_slice(&response.body)
        };
        match echo {
            Ok(Echo { text, pid }) if text == self.text && pid > 0 => Outcome::Well(pid),
            _ => Outcome::Failed(Failure::Answer),
        }
    }

    fn connected(
        connection: &mut Option<Connection>,
        address: SocketAddr,
    ) -> Result<&mut Connection> {
        match connection {
            Some(connection) => Ok(connection),
            none => Ok(none.insert(Connection::open(address, LIMIT)?)),
        }
    }
}

/// Keeps so many loops running while `meanwhile` does. It is handed the process that answered last.
pub(super) fn during<T>(
    question: &Question,
    connections: u32,
    meanwhile: impl FnOnce(&AtomicI32) -> T,
) -> (T, Vec<Note>) {
    let (stop, last) = (AtomicBool::new(false), AtomicI32::new(0));
    thread::scope(|scope| {
        let loops: Vec<_> = (0..connections)
            .map(|index| {
                let (stop, last) = (&stop, &last);
                scope.spawn(move || {
                    thread::sleep(APART * index);
                    ask_on(question, stop, last)
                })
            })
            .collect();
        // A panic in `meanwhile` must not leave the scope waiting for loops that nobody stops.
        let guard = Stop(&stop);
        let done = meanwhile(&last);
        drop(guard);
        // A loop has nothing in it that could panic but a lack of memory.
        let notes = loops
            .into_iter()
            .filter_map(|one| one.join().ok())
            .flatten();
        (done, notes.collect())
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn ask_on(question: &Question, stop: &AtomicBool, last: &AtomicI32) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let outcome = question.ask(&mut connection);
        let ended = Instant::now();
        notes.push(Note {
            ended,
            took: ended - sent,
            outcome,
        });
        match outcome {
            Outcome::Well(pid) => last.store(pid, Ordering::Relaxed),
            Outcome::Failed(_) => thread::sleep(REST),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// What a test's server does with a connection.
    #[derive(Clone, Copy)]
    enum Way {
        Answer(&'static str),
        Reset,
    }

    /// Serves each connection in this way, and counts requests, until the listener's end.
    fn server(way: Way) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let counted = Arc::clone(&counted);
                thread::spawn(move || {
                    let mut read = [0_u8; 1024];
                    while stream.read(&mut read).is_ok_and(|count| count > 0) {
                        counted.fetch_add(1, Ordering::Relaxed);
                        let Way::Answer(answer) = way else { return };
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, count)
    }

    fn notes(way: Way, envelope: bool) -> (Vec<Note>, usize, i32) {
        let (address, count) = server(way);
        let question = Question::new(address, "/echo", "hi", envelope);
        let (last, notes) = during(&question, 3, |last| {
            while count.load(Ordering::Relaxed) < 9 {
                thread::sleep(Duration::from_millis(1));
            }
            last.load(Ordering::Relaxed)
        });
        (notes, count.load(Ordering::Relaxed), last)
    }

    fn outcomes(way: Way, envelope: bool) -> Vec<Outcome> {
        let (notes, count, _) = notes(way, envelope);
        assert_eq!(notes.len(), count, "a note for each request");
        notes.iter().map(|note| note.outcome).collect()
    }

    #[test]
    fn right_answers_are_well_and_name_their_process() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"text\":\"hi\",\"pid\":77}";
        let (notes, count, last) = notes(Way::Answer(answer), false);
        assert_eq!((notes.len(), last), (count, 77));
        assert!(notes.iter().all(|note| note.outcome == Outcome::Well(77)));
        assert!(notes.iter().all(|note| note.took > Duration::ZERO));
        let wrapped = "HTTP/1.1 200 OK\r\ncontent-length: 34\r\n\r\n\
                       {\"outputs\":{\"text\":\"hi\",\"pid\":77}}";
        let outcomes = outcomes(Way::Answer(wrapped), true);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Well(77)));
    }

    #[test]
    fn every_other_end_is_a_failure_of_its_kind() {
        let wrong = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"text\":\"ho\",\"pid\":77}";
        let busy = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";
        for (way, failure) in [
            (Way::Answer(wrong), Failure::Answer),
            (Way::Answer(busy), Failure::Status(503)),
            (Way::Reset, Failure::Connection),
        ] {
            let outcomes = outcomes(way, false);
            assert!(
                outcomes
                    .iter()
                    .all(|outcome| *outcome == Outcome::Failed(failure)),
                "{outcomes:?}"
            );
        }
    }

    #[test]
    fn a_port_at_which_nobody_listens_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let question = Question::new(address, "/echo", "hi", false);
        assert_eq!(question.once(), Outcome::Failed(Failure::Connection));
    }
}
