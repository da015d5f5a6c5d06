//! One call and what became of it, with the patience that its caller has.
//!
//! Invariant: a call that must not be repeated, and that may have run, is never sent again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Answer, Client, Unanswered, problem};
use super::ledger::{Failure, Kind, Lane};
use super::programs::Program;
use super::questions::Question;

/// How long a caller waits before it knocks again at a door that is closed.
const KNOCK: Duration = Duration::from_millis(100);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) program: Program,
    pub(crate) question: &'a Question,
    pub(crate) session: &'a str,
    /// Names this call, and no other, to the programs that keep a record.
    pub(crate) key: &'a str,
}

/// What the answers of a stateful program may count to: more than one number after calls that may
/// or may not have run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// What the last answer said.
    answered: u64,
    /// Calls since then of which nobody knows whether they ran.
    unknown: u64,
}

/// What became of a call.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) lane: Option<Lane>,
    pub(crate) failed_over: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) worker: Option<String>,
    /// How often it was sent, or tried to be.
    pub(crate) attempts: u32,
}

impl Turns {
    /// Whether this number is one that the session can have reached, and takes note of it.
    fn accept(&mut self, calls: u64) -> bool {
        let fits = (self.answered + 1..=self.answered + 1 + self.unknown).contains(&calls);
        if fits {
            *self = Self {
                answered: calls,
                unknown: 0,
            };
        }
        fits
    }
}

impl Call<'_> {
    /// Calls, and calls again for at most `patience` where nobody listens, where the server asks to
    /// come back later, and where the connection broke and the program may be repeated.
    pub(crate) fn make(
        &self,
        client: &Client,
        exact: bool,
        patience: Duration,
        turns: &mut Turns,
    ) -> Fate {
        let begun = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (mut fate, wait) = self.once(client, exact, turns);
            fate.attempts = attempts;
            let again = match &fate.failure {
                None => return fate,
                Some(failure) => match failure.kind {
                    Kind::Unreachable | Kind::Refused => true,
                    Kind::Cut => self.program.repeatable(),
                    Kind::Error | Kind::Wrong => false,
                },
            };
            if !again || begun.elapsed() + wait > patience {
                return fate;
            }
            std::thread::sleep(wait);
        }
    }

    /// One attempt, and how long to wait before the next.
    fn once(&self, client: &Client, exact: bool, turns: &mut Turns) -> (Fate, Duration) {
        let body = json!({"inputs": self.program.inputs(self.question, self.key)});
        match client.execute(self.program.id(), self.session, &body) {
            Ok(answer) => {
                let wait = answer.retry_after.unwrap_or(KNOCK).max(KNOCK);
                (self.judge(&answer, exact, turns), wait)
            }
            Err(Unanswered::Unreachable(text)) => (failed(Kind::Unreachable, None, text), KNOCK),
            Err(Unanswered::Cut(text)) => {
                turns.unknown += 1;
                (failed(Kind::Cut, None, text), KNOCK)
            }
        }
    }

    fn judge(&self, answer: &Answer, exact: bool, turns: &mut Turns) -> Fate {
        let lane = answer.lane.as_deref().and_then(Lane::read);
        let failed_over = answer.body["failed_over"].as_bool().unwrap_or(false);
        let failure = if answer.status != 200 {
            let orderly = matches!(answer.status, 429 | 503) && answer.retry_after.is_some();
            let kind = if orderly { Kind::Refused } else { Kind::Error };
            Some(Failure {
                kind,
                problem: short_name(&answer.body),
                text: problem(answer.status, &answer.body),
            })
        } else if lane.is_none() {
            let text = format!("the answer names no lane: {:?}", answer.lane);
            Some(Failure::of(Kind::Wrong, text))
        } else {
            let outputs = &answer.body["outputs"];
            self.program
                .check(outputs, self.question, exact)
                .and_then(|()| self.counted(outputs, turns))
                .err()
                .map(|text| Failure::of(Kind::Wrong, text))
        };
        Fate {
            lane,
            failed_over,
            failure,
            worker: answer.body["worker"].as_str().map(str::to_owned),
            attempts: 0,
        }
    }

    fn counted(&self, outputs: &Value, turns: &mut Turns) -> Result<(), String> {
        if self.program != Program::Tally {
            return Ok(());
        }
        let calls = outputs["calls"].as_u64().unwrap_or(0);
        let before = *turns;
        if turns.accept(calls) {
            return Ok(());
        }
        Err(format!(
            "session {} has lost its state: it counts {calls} after {} calls answered and {} unknown",
            self.session, before.answered, before.unknown
        ))
    }
}

fn failed(kind: Kind, problem: Option<String>, text: String) -> Fate {
    Fate {
        failure: Some(Failure {
            kind,
            problem,
            text,
        }),
        ..Fate::default()
    }
}

/// A problem's short name: what its type ends with.
fn short_name(body: &Value) -> Option<String> {
    let kind = body["type"].as_str()?;
    Some(kind.rsplit(':').next().unwrap_or(kind).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Long enough for a loaded machine; nothing waits for it where things are well.
    const LONG: Duration = Duration::from_secs(30);

    fn call(program: Program, question: &Question) -> Call<'_> {
        Call {
            program,
            question,
            session: "s",
            key: "k",
        }
    }

    fn question() -> Question {
        Question {
            question: "Why?".to_owned(),
            answer: "Because".to_owned(),
        }
    }

    #[test]
    fn a_session_may_count_on_only_from_what_it_can_have_reached() {
        let mut turns = Turns::default();
        assert!(turns.accept(1) && turns.accept(2));
        assert!(!turns.accept(2), "a call was lost");
        assert!(!turns.accept(4), "a call ran twice");
        turns.unknown += 1;
        let mut other = turns;
        assert!(turns.accept(3), "the unknown one had not run");
        assert!(other.accept(4), "the unknown one had run");
        assert!(!other.accept(6), "it is known again");
    }

    #[test]
    fn an_orderly_refusal_says_when_to_come_back() {
        let question = question();
        let judge = |retry_after: Option<Duration>| {
            let answer = Answer {
                status: 503,
                lane: None,
                retry_after,
                body: json!({"type": "urn:dspex:problem:pool-exhausted", "title": "No worker"}),
            };
            let fate = call(Program::Order, &question).judge(&answer, true, &mut Turns::default());
            fate.failure.expect("it is none")
        };
        let orderly = judge(Some(Duration::from_secs(1)));
        assert_eq!(orderly.kind, Kind::Refused);
        assert_eq!(orderly.problem.as_deref(), Some("pool-exhausted"));
        assert_eq!(judge(None).kind, Kind::Error);
    }

    #[test]
    fn an_answer_of_nobody_and_a_wrong_count_are_wrong() {
        let question = question();
        let judge = |lane: Option<&str>, calls: u64| {
            let answer = Answer {
                status: 200,
                lane: lane.map(str::to_owned),
                retry_after: None,
                body: json!({"outputs": {"calls": calls}, "failed_over": true}),
            };
            call(Program::Tally, &question).judge(&answer, true, &mut Turns::default())
        };
        let good = judge(Some("stable"), 1);
        assert!(good.failure.is_none() && good.failed_over, "{good:?}");
        for fate in [judge(None, 1), judge(Some("stable"), 2)] {
            assert_eq!(fate.failure.expect("wrong").kind, Kind::Wrong);
        }
    }

    #[test]
    fn only_what_may_be_repeated_is_sent_again_after_a_cut() {
        let question = question();
        for (program, attempts) in [(Program::Order, 1), (Program::Callable, 2)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("its address");
            let server = std::thread::spawn(move || {
                drop(accept(&listener));
                // What came again is answered, with an error, which is not asked for once more: so the
                // attempts are counted by what is done and not by how fast.
                if attempts > 1 {
                    refuse(accept(&listener));
                }
            });
            let client = Client::new(&format!("http://{address}"), "");
            let fate = call(program, &question).make(&client, true, LONG, &mut Turns::default());
            server.join().expect("it accepted");
            assert_eq!(fate.attempts, attempts, "{fate:?}");
            assert_eq!(attempts > 1, program.repeatable());
            let kind = if attempts > 1 { Kind::Error } else { Kind::Cut };
            assert_eq!(fate.failure.expect("nobody answered well").kind, kind);
        }
    }

    /// The next caller. One that does not come fails the test, which would wait for it for ever.
    fn accept(listener: &TcpListener) -> TcpStream {
        listener.set_nonblocking(true).expect("a socket");
        let begun = Instant::now();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).expect("a socket");
                    stream.set_read_timeout(Some(LONG)).expect("a socket");
                    return stream;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("no caller can be accepted: {error}"),
            }
            assert!(begun.elapsed() < LONG, "no caller came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads one request, and answers it with an error that nobody should repeat.
    fn refuse(mut stream: TcpStream) {
        let mut request = BufReader::new(stream.try_clone().expect("a socket"));
        let mut body = 0;
        loop {
            let mut line = String::new();
            request.read_line(&mut line).expect("a head");
            let line = line.trim_end().to_lowercase();
            if let Some(length) = line.strip_prefix("content-length:") {
                body = length.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        // To the end: a connection that is closed before would be reset.
        request
            .read_exact(&mut vec![0; body])
            .expect("the whole body");
        let answer = "HTTP/1.1 500 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        stream.write_all(answer.as_bytes()).expect("it listens");
    }
}
