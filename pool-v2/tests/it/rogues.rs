//! Workers that break the protocol in every way: each is condemned, and none harms its siblings.

use std::path::Path;
use std::time::Duration;

use dspex_pool::testing::fixture_programs::{call, call_of, program};
use dspex_pool::testing::real;
use dspex_pool::{Call, LaunchSpec, Pool, PoolError};
use dspex_pool_v2::{Config, PoolV2, Switches};
use serde_json::{Value, json};

use crate::sizes::until;
use crate::{LONG, start_switched, start_with};

fn rogue(attribute: &str, inputs: Value, within: Duration) -> Call {
    let target = format!("fixture_rogues:{attribute}");
    call_of(program(attribute, 1, &target), inputs, within)
}

async fn run(pool: &PoolV2, call: Call) -> Result<Value, PoolError> {
    let reply = pool.execute(call).await?;
    Ok(Value::Object(reply.outputs))
}

/// Three workers that take one call each, and may be started one right after the other.
fn config() -> Config {
    let mut config = Config {
        workers: 3,
        concurrency: 1,
        ..Config::default()
    };
    let start = &mut config.recovery.start;
    start.spacing = Duration::from_millis(1);
    start.backoff = dspex_breaker::Backoff::None;
    start.failures = 1000;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_frame_condemns_its_worker_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = real::launch(folder.path());
    launch.allow_modules.push("fixture_rogues".to_owned());
    let pool = start_with(config(), launch).await.unwrap();
    let told = run(&pool, rogue("faults", json!({}), LONG)).await.unwrap();
    let faults: Vec<&str> = told["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault.as_str().unwrap())
        .collect();

    // Two workers have calls all the time, so the rogue is always the third.
    let gate = folder.path().join("gate");
    let held = || pool.execute(call("waits_for_file", json!({"path": gate}), 3 * LONG));
    let storm = async {
        until(&pool, |status| status.in_flight == 2).await;
        for (number, fault) in faults.iter().enumerate() {
            let within = match *fault {
                // Nobody can tell that a frame will not go on before somebody asks; and where it is not
                // begun by then, on a busy machine, it is a program that takes long.
                "half a frame and silence" | "half a frame, busy, and silence" => {
                    Duration::from_secs(6)
                }
                _ => LONG,
            };
            let ended = run(&pool, rogue("misbehaves", json!({"fault": fault}), within)).await;
            match (*fault, &ended) {
                // What it said first was an answer.
                ("an answer twice", Ok(outputs)) => assert_eq!(*outputs, json!({})),
                ("half a frame and the end", Err(PoolError::Crashed { reason, .. })) => {
                    assert!(reason.contains("exit code 17"), "{fault}: {reason}");
                }
                // Whoever still uses the processor is not hung; whether it answers shows later.
                (
                    "half a frame and silence" | "half a frame, busy, and silence",
                    Err(PoolError::Hung { .. } | PoolError::ProgramTimeout { .. }),
                )
                | (_, Err(PoolError::Protocol { .. })) => {}
                _ => panic!("{fault}: {ended:?}"),
            }
            let lost = number as u64 + 1;
            let status = until(&pool, |now| now.failures == lost && now.ready == 3).await;
            assert_eq!(status.in_flight, 2, "{fault}: the others go on");
            let text = json!({"text": fault});
            let answer = run(&pool, call("echo", text.clone(), LONG)).await;
            assert_eq!(answer.unwrap(), text, "the next call is answered");
        }
        std::fs::write(&gate, "").unwrap();
    };
    let (one, other, ()) = tokio::join!(held(), held(), storm);
    one.unwrap();
    other.unwrap();
    eprintln!(
        "{} kinds of malformed frames cost {} workers, and no call of the two beside them",
        faults.len(),
        pool.status().failures
    );
}

/// A package `dspex_worker` that speaks as told while a worker is to come up.
fn impostor(folder: &Path, script: &str) -> LaunchSpec {
    let package = folder.join("impostor/dspex_worker");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("__init__.py"), "").unwrap();
    let before = "import json, os, socket, struct, sys, time\n\
         wire = socket.socket(fileno=int(os.environ['DSPEX_WIRE_FD']))\n\
         def say(body):\n\
         \x20   body = body if isinstance(body, bytes) else json.dumps(body).encode()\n\
         \x20   wire.sendall(struct.pack('>I', len(body)) + body)\n\
         hello = {'type': 'hello', 'protocol': 1, 'pid': os.getpid(), 'python': '3',\n\
         \x20   'engines': {'callable': '1', 'dspy': None}, 'capabilities': []}\n";
    let after = "time.sleep(3600)\n";
    let main = format!("{before}{script}\n{after}");
    std::fs::write(package.join("__main__.py"), main).unwrap();
    LaunchSpec {
        python_path: vec![folder.join("impostor")],
        ..real::launch(folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_up_wrong_is_no_worker_and_says_why() {
    let faults = [
        ("os._exit(3)", "exit code 3"),
        ("pass", "was not ready within"),
        ("wire.sendall(b'Welcome to Python\\n')", "reads as text"),
        ("say(b'{,}')", "not what the protocol allows"),
        ("say([])", "not what the protocol allows"),
        ("say({'type': 'ready'})", "Hello was due"),
        ("say({**hello, 'protocol': 2})", "2"),
        ("del hello['pid']; say(hello)", "pid"),
        (
            "say(hello); say({'type': 'result', 'id': 1, 'outputs': {}})",
            "to its configuration",
        ),
        (
            "say(hello); say({'type': 'fatal', 'error': {'class': 'worker', 'type': 'E', 'message': 'no licence'}})",
            "no licence",
        ),
        (
            "say(hello); wire.sendall(b'\\0\\0'); os._exit(4)",
            "exit code 4",
        ),
    ];
    for (script, words) in faults {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            workers: 1,
            start_timeout: Duration::from_secs(if script == "pass" { 1 } else { 20 }),
            ..config()
        };
        let switches = Switches {
            enhanced_workers: false,
            ..Switches::default()
        };
        let launch = impostor(folder.path(), script);
        let started = start_switched(config, launch, switches.unchanging()).await;
        let error = started.unwrap_err().to_string();
        assert!(error.contains(words), "{script}: {error}");
    }
}
