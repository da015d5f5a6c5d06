//! The same frames over the same wire, without a pool: one thread and one Python loop for each
//! socket.
//!
//! The client writes its calls as JSON and reads the outputs from the answers, as anybody must who
//! calls at all. It does nothing else: no queue, no choice, no deadline, no cancellation, no health.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dspex_pool::{Launch, Process, Wire, WireEnd, WorkerLimits, wire};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Outcome;
use crate::house::{self, House};
use crate::latency::Latencies;
use crate::order::Load;
use crate::processor::Meter;

/// The fields of the worker protocol's frame `call`.
#[derive(Serialize)]
struct Call<'a> {
    r#type: &'static str,
    id: u64,
    key: &'static str,
    inputs: &'a Map<String, Value>,
    session: Option<&'a str>,
    request: String,
    timeout_ms: u64,
}

/// The fields of the worker protocol's frame `result`.
#[derive(Deserialize)]
#[expect(dead_code, reason = "a caller would want them all read")]
struct Answer {
    r#type: String,
    id: u64,
    outputs: Map<String, Value>,
    program_ms: f64,
}

pub(crate) async fn measure(house: &House, load: Load) -> Outcome<Value> {
    let window = Duration::from_secs_f64(load.seconds);
    let mut loops = Vec::new();
    for number in 0..load.workers {
        loops.push(start(house, number).await?);
    }
    let meter = Meter::start(loops.iter().map(|(process, _)| process.pid()).collect());
    let begin = Instant::now() + window / 4;
    let end = begin + window;
    let inputs = house::input("text", "x".repeat(load.bytes));
    let mut clients = Vec::new();
    let mut processes = Vec::new();
    for (process, socket) in loops {
        processes.push(process);
        let inputs = inputs.clone();
        let in_flight = load.in_flight.div_ceil(load.workers);
        clients.push(std::thread::spawn(move || {
            let latencies = drive(&socket, &inputs, in_flight, begin, end);
            latencies.map(|latencies| (latencies, socket))
        }));
    }
    let mut all = Latencies::default();
    // A loop ends with its socket, and its processor time is to be read before.
    let mut sockets = Vec::new();
    for client in clients {
        // The threads end by the clock, whatever the runtime does meanwhile; nothing else runs.
        let (latencies, socket) = client.join().map_err(|_| "a client panicked")??;
        all.add(latencies);
        sockets.push(socket);
    }
    let calls = all.answered();
    let mut result = all.figures(window);
    meter.stop(calls, &mut result);
    drop(sockets);
    for process in &processes {
        process.end_within(Duration::from_secs(2)).await;
    }
    Ok(result)
}

async fn start(house: &House, number: usize) -> Outcome<(Process, UnixStream)> {
    let launch = Launch {
        name: format!("bare-{number}"),
        program: house.python.clone(),
        args: vec![house.programs.join("echo_loop.py").into()],
        env: house.launch().environment(),
        wire: Wire::Socket,
        limits: WorkerLimits::default(),
        guardian: None,
    };
    let (process, wire) = house.spawner.spawn(launch, &house.tracker).await?;
    let WireEnd::Socket(socket) = wire else {
        return Err("a loop was started without a socket".into());
    };
    let socket = socket.into_std()?;
    socket.set_nonblocking(false)?;
    Ok((process, socket))
}

fn drive(
    mut socket: &UnixStream,
    inputs: &Map<String, Value>,
    in_flight: usize,
    begin: Instant,
    end: Instant,
) -> Outcome<Latencies> {
    let mut latencies = Latencies::default();
    // Answers come in the order of the calls, so ids are places in a ring.
    let mut sent = vec![Instant::now(); in_flight];
    let mut last_id = 0;
    let mut outgoing = BytesMut::new();
    let call = |last_id: &mut u64, outgoing: &mut BytesMut, sent: &mut [Instant]| {
        let message = Call {
            r#type: "call",
            id: *last_id,
            key: "echo@1",
            inputs,
            session: None,
            request: format!("bench-{last_id}"),
            timeout_ms: 60_000,
        };
        sent[place(*last_id, in_flight)] = Instant::now();
        *last_id += 1;
        wire::frame(&message, wire::MAX_FRAME).map(|frame| outgoing.extend_from_slice(&frame))
    };
    for _ in 0..in_flight {
        call(&mut last_id, &mut outgoing, &mut sent)?;
    }
    let mut incoming = BytesMut::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut open = in_flight;
    while open > 0 {
        socket.write_all(&outgoing)?;
        outgoing.clear();
        let got = socket.read(&mut chunk)?;
        if got == 0 {
            return Err("a loop ended before it had answered".into());
        }
        incoming.extend_from_slice(&chunk[..got]);
        while let Some(payload) = wire::take_frame(&mut incoming, wire::MAX_FRAME)? {
            let answer: Answer = wire::parse(&payload)?;
            if answer.outputs != *inputs {
                return Err(format!("an answer was {:?}", answer.outputs).into());
            }
            let now = Instant::now();
            let took = now - sent[place(answer.id, in_flight)];
            latencies.note(took, begin <= now && now < end);
            if now < end {
                call(&mut last_id, &mut outgoing, &mut sent)?;
            } else {
                open -= 1;
            }
        }
    }
    Ok(latencies)
}

fn place(id: u64, in_flight: usize) -> usize {
    usize::try_from(id).unwrap_or(0) % in_flight
}
