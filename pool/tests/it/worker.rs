//! A worker that breaks the worker protocol is told precisely, and takes nobody down with it.

use std::path::Path;
use std::sync::Arc;

use dspex_pool::testing::fixture_programs::call;
use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, PoolError, Spawner, StartError, Worker, WorkerOptions};
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

async fn call_on(then: &str) -> PoolError {
    let folder = tempfile::tempdir().unwrap();
    let greeting = format!("greet()\nreceive()\n{then}\ntime.sleep(60)");
    let worker = Arc::new(start(&rogue(folder.path(), &greeting)).await.unwrap());
    worker
        .call(&call("echo", json!({"text": "x"}), LONG), Box::new(()))
        .await
        .unwrap_err()
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
            r#"send(type="result", id=4711, outputs={})"#,
            "id 4711, which nobody asked",
        ),
        (r#"send(type="result", outputs={})"#, "without an id"),
        (r#"send(type="ready", id=1)"#, "where an answer was due"),
        (
            r#"send(type="surprise", id=1)"#,
            "not what the protocol allows",
        ),
    ];
    for (then, words) in cases {
        match call_on(then).await {
            PoolError::Protocol { reason, .. } => {
                assert!(reason.contains(words), "{then}: {reason}");
            }
            other => panic!("{then}: {other:?}"),
        }
    }
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
