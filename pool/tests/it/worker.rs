//! A worker that breaks the worker protocol is told precisely, and takes nobody down with it.

use std::path::Path;
use std::sync::Arc;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{
    Call, LaunchSpec, PoolError, Program, Reply, Spawner, StartError, Worker, WorkerOptions, chunks,
};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::LONG;

/// A package `dspex_worker` that greets as it should and then does something of its own with the
/// first frame after `configure`.
fn rogue(folder: &Path, then: &str) -> LaunchSpec {
    let package = folder.join("dspex_worker");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("__init__.py"), "").unwrap();
    let main = format!(
        r#"
import json, os, socket, struct, sys, time
wire = socket.socket(fileno=int(os.environ["DSPEX_WIRE_FD"]))
def raw(data): wire.sendall(data)
def send(**frame):
    data = json.dumps(frame).encode()
    raw(struct.pack(">I", len(data)) + data)
def receive():
    length = struct.unpack(">I", wire.recv(4, socket.MSG_WAITALL))[0]
    return json.loads(wire.recv(length, socket.MSG_WAITALL))
def hello(**changed):
    send(**({{"type": "hello", "protocol": 1, "pid": os.getpid(), "python": "3", "engines": {{}}, "capabilities": []}} | changed))
def greet():
    hello()
    receive()
    send(type="ready")
{then}
"#
    );
    std::fs::write(package.join("__main__.py"), main).unwrap();
    LaunchSpec {
        python_path: vec![folder.to_owned()],
        ..real::launch(&folder.join("unused"))
    }
}

async fn start(spec: &LaunchSpec) -> Result<Worker, StartError> {
    let options = WorkerOptions {
        name: "w-0.0".to_owned(),
        concurrency: 2,
        preload: Vec::new(),
        start_timeout: LONG,
    };
    Worker::start(
        options,
        spec,
        &Spawner::start().unwrap(),
        &TaskTracker::new(),
    )
    .await
}

/// What becomes of a call whose worker, once it is asked, does this. Its definition has id 1, the
/// call itself id 2.
async fn ask_on(then: &str, call: &Call) -> Result<Reply, PoolError> {
    let folder = tempfile::tempdir().unwrap();
    let greeting = format!("greet()\nreceive()\nreceive()\n{then}\ntime.sleep(60)");
    let worker = start(&rogue(folder.path(), &greeting)).await.unwrap();
    worker.call(call, Box::new(())).await
}

async fn call_on(then: &str) -> PoolError {
    let call = call("echo", json!({"text": "x"}), LONG);
    ask_on(then, &call).await.unwrap_err()
}

fn expect_protocol(then: &str, words: &str, error: &PoolError) {
    match error {
        PoolError::Protocol { reason, .. } => assert!(reason.contains(words), "{then}: {reason}"),
        other => panic!("{then}: {other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_never_knows_the_program_is_told_of_it_twice_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let script = format!(
        r#"greet()
while True:
    frame = receive()
    if frame["type"] == "define":
        open({told:?}, "a").write(".")
        send(type="result", id=frame["id"])
    elif frame["type"] == "call":
        error = {{"class": "unknown_program", "exception": "E", "message": "never heard of it"}}
        send(type="error", id=frame["id"], error=error)
"#
    );
    let worker = start(&rogue(folder.path(), &script)).await.unwrap();
    let call = call("echo", json!({"text": "x"}), LONG);
    let error = worker.call(&call, Box::new(())).await.unwrap_err();
    assert!(error.to_string().contains("never heard of it"), "{error:?}");
    assert_eq!(std::fs::read(told).unwrap(), b"..");
}

#[tokio::test]
async fn frames_that_break_the_protocol_end_the_worker_and_say_how() {
    let cases = [
        (r#"raw(struct.pack(">I", 1 << 31))"#, "2147483648 bytes"),
        (
            r#"raw(b"Hello, I am a log line\n")"#,
            "print to its standard output",
        ),
        (
            r#"raw(struct.pack(">I", 3) + b"{,}")"#,
            "not what the protocol allows",
        ),
        (
            r#"raw(struct.pack(">I", 4) + bytes([0xff] * 4))"#,
            "not what the protocol allows",
        ),
        (
            r#"raw(struct.pack(">I", 2) + b"[]")"#,
            "not what the protocol allows",
        ),
        (
            r#"raw(struct.pack(">I", 0))"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="result", id=4711, outputs={})"#,
            "id 4711, which nobody asked",
        ),
        (
            r#"send(type="result", id=1); send(type="result", id=1)"#,
            "id 1, which nobody asked",
        ),
        (
            r#"send(type="result", id=-1, outputs={})"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="result", id=2, outputs=[])"#,
            "not what the protocol allows",
        ),
        (r#"send(type="result", outputs={})"#, "without an id"),
        (r#"send(type="result", id=2)"#, "result without outputs"),
        (r#"send(type="pong", id=2)"#, "with a pong"),
        (r#"send(type="error", id=2)"#, "where an answer was due"),
        (
            r#"send(type="error", id=2, error={"class": "odd", "message": "x"})"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="error", id=2, error={"class": "cancelled", "message": "not asked for"})"#,
            "not asked for",
        ),
        (r#"send(type="ready", id=1)"#, "where an answer was due"),
        (r#"hello()"#, "without an id"),
        (
            r#"send(type="surprise", id=1)"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="credit", id=2, n=1)"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="chunk", id=4711, chunk=1)"#,
            "chunk for id 4711, which nobody asked",
        ),
        (
            r#"send(type="chunk", id=2, chunk=1)"#,
            "chunk for id 2, which asked for none",
        ),
        (
            r#"send(type="chunk", id=1, chunk=1)"#,
            "chunk for id 1, which asked for none",
        ),
        (r#"send(type="chunk", chunk=1)"#, "without an id"),
    ];
    for (then, words) in cases {
        expect_protocol(then, words, &call_on(then).await);
    }
}

#[tokio::test]
async fn chunks_that_break_the_protocol_end_the_worker_and_say_how() {
    let cases = [
        (
            r#"send(type="chunk", id=2, chunk=1); send(type="chunk", id=2, chunk=2)
send(type="chunk", id=2, chunk=3)"#,
            "beyond its window of 2",
        ),
        (r#"send(type="chunk", id=2)"#, "without its chunk"),
        (
            r#"raw(struct.pack(">I", 35) + b'{"type":"chunk","id":2,"chunk":NaN}')"#,
            "not what the protocol allows",
        ),
        (
            r#"send(type="result", id=2, outputs={}); send(type="chunk", id=2, chunk=1)
send(type="result", id=2, outputs={})"#,
            "",
        ),
    ];
    for (then, words) in cases {
        let (sender, receiver) = chunks(2);
        let call = Call {
            chunks: Some(sender),
            ..call("echo", json!({"text": "x"}), LONG)
        };
        let answered = ask_on(then, &call).await;
        if words.is_empty() {
            assert!(answered.is_ok(), "what comes after an answer is too late");
        } else {
            expect_protocol(then, words, &answered.unwrap_err());
        }
        drop(receiver);
    }
}

#[tokio::test]
async fn a_chunk_may_be_null_and_credit_comes_as_chunks_are_taken() {
    let then = r#"
for chunk in (None, {"a": [1]}):
    send(type="chunk", id=2, chunk=chunk)
credit = receive()
assert credit["type"] == "credit" and credit["id"] == 2 and 1 <= credit["n"] <= 2, credit
send(type="chunk", id=2, chunk="more")
send(type="result", id=2, outputs=credit)"#;
    let (sender, mut receiver) = chunks(2);
    let call = Call {
        chunks: Some(sender),
        ..call("echo", json!({"text": "x"}), LONG)
    };
    let reading = async {
        let mut got = Vec::new();
        for _ in 0..3 {
            got.push(receiver.next().await.unwrap().get().to_owned());
        }
        got
    };
    let (reply, got) = tokio::join!(ask_on(then, &call), reading);
    reply.unwrap();
    assert_eq!(got, ["null", r#"{"a": [1]}"#, r#""more""#]);
}

#[tokio::test]
async fn chunks_for_a_call_that_was_given_up_are_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let then = r#"greet()
receive(); receive()
send(type="chunk", id=2, chunk=1)
assert receive() == {"type": "cancel", "id": 2}
for _ in range(9):
    send(type="chunk", id=2, chunk=2)
send(type="error", id=2, error={"class": "cancelled", "message": "as asked"})
send(type="pong", id=receive()["id"])
time.sleep(60)"#;
    let worker = start(&rogue(folder.path(), then)).await.unwrap();
    let (sender, mut receiver) = chunks(1);
    let call = Call {
        chunks: Some(sender),
        ..call("echo", json!({"text": "x"}), LONG)
    };
    tokio::select! {
        ended = worker.call(&call, Box::new(())) => panic!("{ended:?}"),
        chunk = receiver.next() => assert_eq!(chunk.unwrap().get(), "1"),
    }
    assert!(worker.ping(LONG).await, "the worker is still good");
    drop(call);
    assert!(receiver.next().await.is_none(), "nobody holds a sender");
}

#[tokio::test]
async fn state_goes_and_comes_as_it_is() {
    let then = r#"
body = b'{"type":"result","id":2,"outputs":{},"state":{"n":1e400}}'
raw(struct.pack(">I", len(body)) + body)"#;
    let mut asked = call("echo", json!({"text": "x"}), LONG);
    assert_eq!(ask_on(then, &asked).await.unwrap().state, None);
    asked.program = Arc::new(Program {
        stateful: true,
        ..(*asked.program).clone()
    });
    // A number that no machine number holds: nobody looked inside.
    let state = ask_on(then, &asked).await.unwrap().state.unwrap();
    assert_eq!(state.as_json().get(), r#"{"n":1e400}"#);
    let forgetful = r#"send(type="result", id=2, outputs={})"#;
    let error = ask_on(forgetful, &asked).await.unwrap_err();
    expect_protocol(forgetful, "without its state", &error);
}

#[tokio::test]
async fn what_a_worker_counted_comes_with_its_answer() {
    let asked = call("echo", json!({"text": "x"}), LONG);
    let answered = |usage: &str| {
        let then = format!("send(type=\"result\", id=2, outputs={{}}{usage})");
        let asked = asked.clone();
        async move { ask_on(&then, &asked).await }
    };
    assert_eq!(answered("").await.unwrap().usage, None);
    let said = ", usage={\"prompt_tokens\": 5, \"total_tokens\": 7, \"later\": 1}";
    let usage = answered(said).await.unwrap().usage.unwrap();
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens
        ),
        (5, 0, 7)
    );
    let error = answered(", usage={\"total_tokens\": -1}")
        .await
        .unwrap_err();
    expect_protocol("a count below zero", "-1", &error);
}

#[tokio::test]
async fn a_worker_that_ends_inside_a_frame_has_crashed() {
    let then = r#"raw(struct.pack(">I", 100) + b"{"); print("oh no", file=sys.stderr, flush=True); os._exit(9)"#;
    match call_on(then).await {
        PoolError::Crashed { reason, .. } => {
            assert!(
                reason.contains("exit code 9") && reason.contains("oh no"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_of_another_version_is_refused_at_its_hello() {
    let folder = tempfile::tempdir().unwrap();
    let error = start(&rogue(folder.path(), "hello(protocol=9)\ntime.sleep(60)"))
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::Protocol { .. }), "{error:?}");
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[tokio::test]
async fn a_worker_that_says_nothing_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let spec = rogue(folder.path(), "time.sleep(60)");
    let options = WorkerOptions {
        name: "w-0.0".to_owned(),
        concurrency: 1,
        preload: Vec::new(),
        start_timeout: std::time::Duration::from_millis(100),
    };
    let started = Worker::start(
        options,
        &spec,
        &Spawner::start().unwrap(),
        &TaskTracker::new(),
    )
    .await;
    assert!(
        matches!(started, Err(StartError::TimedOut { .. })),
        "{started:?}"
    );
}

#[tokio::test]
async fn a_worker_that_is_over_says_that_a_call_was_never_sent() {
    let folder = tempfile::tempdir().unwrap();
    let worker = start(&real::launch(folder.path())).await.unwrap();
    worker.condemn("a test wants it gone");
    let error = worker
        .call(&call("echo", json!({"text": "x"}), LONG), Box::new(()))
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, PoolError::Unavailable { .. }), "{error:?}");
    assert!(!error.may_have_started());
    assert!(worker.ended().await.contains("a test wants it gone"));
}
