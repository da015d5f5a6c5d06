//! One kept-alive HTTP/1.1 connection, blocking.
//!
//! Why not the client that the rest of xtask has: on a small machine the client takes its share of the
//! cores from the server, and this one sends bytes that were made once and reads no more than it must.
//! It is the same for all, and it never asks twice: whatever goes wrong is the server's answer.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer answers are no echo.
const LONGEST: usize = 64 * 1024;

/// A connection that has no request in flight.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// What was read and belongs to no answer yet.
    read: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the server keeps the connection.
    pub(super) kept: bool,
}

/// A POST of JSON, as its bytes.
pub(super) fn request(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Connection {
    /// Connects. No answer may take longer than the limit.
    pub(super) fn open(address: SocketAddr, limit: Duration) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(1024),
        })
    }

    /// Sends a request and reads its answer. After an error the connection is of no use.
    pub(super) fn ask(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.write_all(request)?;
        let head = loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head = Head::parse(&self.read[..end])?;
                self.read.drain(..end + 4);
                break head;
            }
            self.more()?;
        };
        let body = match head.length {
            Length::Known(length) => self.take(length)?,
            Length::Chunked => self.chunks()?,
        };
        if !self.read.is_empty() {
            return Err(odd("there is more than one answer to a request"));
        }
        Ok(Response {
            status: head.status,
            body,
            kept: head.kept,
        })
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| odd("a chunk has no size"))?;
            if size == 0 {
                // Trailers, of which nobody here has a use, end with an empty line.
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.append(&mut self.take(size)?);
            if !self.line()?.is_empty() || body.len() > LONGEST {
                return Err(odd("a chunk is longer than it says"));
            }
        }
    }

    /// The bytes up to the end of a line.
    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + 2);
                return Ok(line);
            }
            self.more()?;
        }
    }

    /// So many bytes.
    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        if length > LONGEST {
            return Err(odd("the answer is too long for an echo"));
        }
        while self.read.len() < length {
            self.more()?;
        }
        Ok(self.read.drain(..length).collect())
    }

    fn more(&mut self) -> Result<()> {
        let mut buffer = [0_u8; 4096];
        match self.stream.read(&mut buffer)? {
            0 => Err(Error::new(
                ErrorKind::UnexpectedEof,
                "the connection ended under the request",
            )),
            _ if self.read.len() > LONGEST => Err(odd("the head of the answer does not end")),
            count => {
                self.read.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

#[derive(Debug)]
struct Head {
    status: u16,
    length: Length,
    kept: bool,
}

impl Head {
    /// Reads the lines before the empty one.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| odd("the head is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| odd("the answer does not begin with a status"))?;
        let (mut length, mut kept) = (None, !text.starts_with("HTTP/1.0"));
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let known = value.parse().map_err(|_| odd("the length is no number"))?;
                length = Some(Length::Known(known));
            } else if name.eq_ignore_ascii_case("transfer-encoding")
                && value.eq_ignore_ascii_case("chunked")
            {
                length = Some(Length::Chunked);
            } else if name.eq_ignore_ascii_case("connection") {
                kept = !value.eq_ignore_ascii_case("close");
            }
        }
        let length = length.ok_or_else(|| odd("the answer does not say how long it is"))?;
        Ok(Self {
            status,
            length,
            kept,
        })
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn odd(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one connection's requests with these bytes, one after the other, and hangs up.
    fn server(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut read = [0_u8; 1024];
            for answer in answers {
                let count = stream.read(&mut read).expect("a request");
                assert!(read[..count].ends_with(b"\r\n\r\n{}"), "a whole request");
                // In two pieces: no answer comes as one for sure.
                let (first, second) = answer.as_bytes().split_at(answer.len() / 2);
                stream.write_all(first).expect("written");
                std::thread::sleep(Duration::from_millis(2));
                stream.write_all(second).expect("written");
            }
        });
        (address, thread)
    }

    fn ask(answers: &'static [&'static str]) -> Vec<Result<Response>> {
        let (address, thread) = server(answers);
        let mut connection =
            Connection::open(address, Duration::from_secs(60)).expect("it listens");
        let request = request(address, "/echo", "{}");
        let results = answers.iter().map(|_| connection.ask(&request)).collect();
        thread.join().expect("it ends well");
        results
    }

    #[test]
    fn answers_with_a_length_and_in_chunks_are_read_from_one_connection() {
        let results = ask(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            "HTTP/1.1 503 Not now\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ]);
        let results: Vec<Response> = results
            .into_iter()
            .collect::<Result<_>>()
            .expect("whole answers");
        let response = |status, body: &[u8], kept| Response {
            status,
            body: body.to_vec(),
            kept,
        };
        assert_eq!(
            results,
            [
                response(200, b"hello", true),
                response(200, b"hello", true),
                response(503, b"", false)
            ]
        );
    }

    #[test]
    fn a_connection_that_ends_under_the_request_is_an_error() {
        let results = ask(&["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf an ans"]);
        let error = results[0].as_ref().expect_err("it was cut");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for answer in [
            &["SSH-2.0-other\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}{}"],
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n"],
        ] {
            let error = ask(answer).remove(0).expect_err(answer[0]);
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{}", answer[0]);
        }
    }
}
