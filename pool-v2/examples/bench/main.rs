//! Measures pool V2, and the bare wire beside it, for `cargo xtask bench pool`.
//!
//! It takes one order as JSON on its command line, measures once and prints one JSON object. What
//! is compared, how often, and what a figure must reach is xtask's concern; this program only links
//! what xtask must not. Invariant: every process that it starts ends with it.
//!
//! Started as `bench -m dspex_worker …` it is a worker itself: see `stand_in`.
#![expect(
    clippy::disallowed_methods,
    reason = "it measures real time from a thread without a runtime too; no test pauses its clock"
)]

mod bare;
mod dispatch;
mod echo;
mod forks;
mod house;
mod kills;
mod latency;
mod memory;
mod order;
mod placement;
mod processor;
mod sessions;
mod stand_in;
mod waiting;

use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

use self::house::House;
use self::order::{Measure, Order};

/// What went wrong, in words for whoever reads the log of a run.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [flag, module, ..] if flag == "-m" && module == "dspex_worker" => stand_in::serve(),
        [order] => measure(order).map(|result| println!("{result}")),
        _ => Err("usage: bench ORDER, with the order as JSON".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(order: &str) -> Outcome<Value> {
    let order: Order =
        serde_json::from_str(order).map_err(|error| format!("the order is not valid: {error}"))?;
    // The thread that forks is started where workers are to run, and the runtime's threads where
    // we are to run: both inherit the place of the thread that starts them.
    let spawner = placement::spawner(order.placement)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let house = House::new(&order, spawner)?;
    runtime.block_on(async {
        // On a worker thread of the runtime, as a server's request handlers run.
        let tracker = house.tracker.clone();
        let running = tracker.spawn(async move {
            let result = match order.measure {
                Measure::Echo(load) => echo::measure(&house, load).await,
                Measure::Bare(load) => bare::measure(&house, load).await,
                Measure::Waiting(load) => waiting::measure(&house, load).await,
                Measure::Kills(load) => kills::measure(&house, load).await,
                Measure::Memory(load) => memory::measure(&house, load).await,
                Measure::Forks(load) => forks::measure(&house, load).await,
                Measure::Dispatch(load) => dispatch::measure(&house, load).await,
                Measure::Sessions(load) => sessions::measure(&load),
            };
            house.tracker.close();
            result
        });
        let result = running.await?;
        tracker.wait().await;
        result
    })
}
